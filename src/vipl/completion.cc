// SPDX-License-Identifier: Apache-2.0
//
// completion.cc -- from the device's completions to descriptors that are done, and Done and Wait.
//
//   device ring --poll--> apply: write the descriptor back, mark the slot --advance--> entries of the CQ
//                                                                         '--take----> Done, Wait, Notify
//
//   A slot is over when the device said so, or at once if the device never saw it; descriptors leave a queue in the
//   order in which they were posted in any case.
#include <algorithm>

#include "vipl/state.hpp"
#include "vipl/wait.hpp"

namespace vipl {

namespace {

using vinic::opcode;
using vinic::status;

constexpr int looks_max = 256;  ///< so that a stream of others' completions cannot hold a caller for ever

[[nodiscard]] std::uint32_t error_bits(status s, opcode o) noexcept {
    switch (s) {
        case status::success:
            return 0;
        case status::local_protection:
            return VIP_STATUS_PROTECTION_ERROR;
        case status::local_length:
            return VIP_STATUS_LENGTH_ERROR;
        case status::remote_protection:
            return VIP_STATUS_RDMA_PROT_ERROR;
        case status::remote_length:
        case status::remote_descriptor:
        case status::receiver_not_ready:
            return VIP_STATUS_REMOTE_DESC_ERROR;
        case status::flushed:
        case status::connection_lost:
            return VIP_STATUS_DESC_FLUSHED_ERROR;
        case status::bad_alignment:
        case status::unreachable_memory:
            break;
    }
    return o == opcode::receive ? VIP_STATUS_PARTIAL_ERROR | VIP_STATUS_TRANSPORT_ERROR : VIP_STATUS_TRANSPORT_ERROR;
}

/// "Data is in the remote memory" is promised, and so its failure told, at Reliable Reception only.
[[nodiscard]] std::uint32_t error_bits(const vi& v, status s, opcode o) noexcept {
    const std::uint32_t bits = error_bits(s, o);
    return bits == VIP_STATUS_REMOTE_DESC_ERROR && v.level != VIP_SERVICE_RELIABLE_RECEPTION
               ? std::uint32_t{VIP_STATUS_TRANSPORT_ERROR}
               : bits;
}

/// Writes a finished descriptor back into the program's memory, with what arrived; nowhere if that memory
/// is no longer registered.  Status last, with release: a program that looks at it instead of calling Done
/// sees all the rest.
inline void write_back(vi& v, const slot& s, std::uint32_t bits, const vinic::completion* arrived) noexcept {
    if (!s.writable()) [[unlikely]] {
        report(*v.owner, &v, VIP_ERROR_COMP_PROT, s.descriptor, bits & VIP_STATUS_OP_MASK);
        return;
    }
    VIP_CONTROL_SEGMENT& to = s.descriptor->CS;
    if ((to.Next.AddressBits | to.NextHandle) != 0) [[unlikely]] {
        report(*v.owner, &v, VIP_ERROR_POST_DESC, s.descriptor, bits & VIP_STATUS_OP_MASK);
    }
    if (arrived != nullptr) {
        if ((bits & VIP_STATUS_ERROR_MASK) == 0) {
            to.Length = arrived->length;
        }
        if (arrived->has_immediate && (bits & VIP_STATUS_ERROR_MASK) == 0) {
            to.ImmediateData = arrived->immediate;
        }
    }
    std::atomic_ref(to.Status).store(bits, std::memory_order_release);
}

/// What a send-queue descriptor that failed says.
std::uint32_t failed_bits(const vi& v, const slot& s, const vinic::completion& c) noexcept {
    suspect(*v.owner);
    const std::uint32_t bits = error_bits(v, c.status, c.opcode);
    if ((s.bits() & mark_malformed) != 0 && (bits & VIP_STATUS_DESC_FLUSHED_ERROR) == 0) {
        return s.bits() & VIP_STATUS_ERROR_MASK;  // what was wrong with it before the device failed on it
    }
    return bits;
}

inline void apply(const vinic::completion& c) noexcept {
    vi& v = *reinterpret_cast<vi*>(c.vi_context);
    const bool arrived = c.opcode == opcode::receive || c.opcode == opcode::receive_write;
    queue& q = arrived ? v.receive : v.send;
    const std::uint32_t end = q.tail.load(std::memory_order_acquire);  // pairs with the post's release
    slot& s = q.at(static_cast<std::uint32_t>(c.cookie));
    std::uint32_t bits = VIP_STATUS_DONE;
    if (arrived) {
        bits |= c.opcode == opcode::receive ? VIP_STATUS_OP_RECEIVE : VIP_STATUS_OP_REMOTE_RDMA_WRITE;
        bits |= c.has_immediate ? VIP_STATUS_IMMEDIATE : 0u;
    } else {
        bits |= s.bits() & VIP_STATUS_OP_MASK;
    }
    if (c.status != status::success) [[unlikely]] {
        bits |= failed_bits(v, s, c);
    }
    s.set(bits | mark_over);
    write_back(v, s, bits, arrived ? &c : nullptr);
    q.advance(end);
}

}  // namespace

inline void queue::advance(std::uint32_t end) noexcept {
    while (completed != end) {
        const slot& s = at(completed);
        if ((s.bits() & mark_over) == 0) {
            break;
        }
        if ((s.bits() & mark_local) != 0) [[unlikely]] {
            write_back(*owner, s, s.bits() & ~marks, nullptr);
        }
        ++completed;
        // As many entries as there can be descriptors always lead to all of them; more come only from
        // a program that takes descriptors without taking entries.
        if (done->visible != nullptr && entries < depth) {
            done->visible->push({owner, receives});
            ++entries;
        }
    }
}

void queue::end_locally(std::uint32_t i, std::uint32_t bits) noexcept {
    at(i).set(bits | VIP_STATUS_DONE | mark_over | mark_local);
    advance(tail.load(std::memory_order_acquire));
}

bool completer::poll() noexcept {
    auto* const out = reinterpret_cast<vinic::completion*>(batch);
    const std::size_t n = native.poll({out, wanted});
    if (n == 0) {
        wanted = 1;
        return false;
    }
    wanted = n == wanted ? std::min<std::uint32_t>(wanted * 4, 16) : static_cast<std::uint32_t>(n);
    for (std::size_t i = 0; i < n; ++i) {
        apply(out[i]);
    }
    return true;
}

VIP_RETURN take(queue& q, VIP_DESCRIPTOR** out) noexcept {
    const std::uint32_t first = q.head.load(std::memory_order_relaxed);
    if (first == q.completed) {
        bool any = false;
        // On a CQ that many VIs share the first completions may be of others.
        for (int look = 0; look < looks_max && first == q.completed && q.done->poll(); ++look) {
            any = true;
        }
        if (any) {
            q.done->tell();
        }
        if (first == q.completed) {
            return first == q.tail.load(std::memory_order_acquire) ? VIP_DESCRIPTOR_ERROR : VIP_NOT_DONE;
        }
    }
    const slot& s = q.at(first);
    *out = s.descriptor;
    const bool failed = (s.bits() & VIP_STATUS_ERROR_MASK) != 0;
    q.head.store(first + 1, std::memory_order_release);
    return failed ? VIP_DESCRIPTOR_ERROR : VIP_SUCCESS;
}

namespace {

VIP_RETURN done(VIP_VI_HANDLE handle, queue vi::* which, VIP_DESCRIPTOR** out) noexcept {
    if (out == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    *out = nullptr;
    vi* const v = all().vis.find(handle);
    if (v == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    queue& q = v->*which;
    completer& c = *q.done;
    const std::lock_guard hold(c.lock);
    return v->alive(reinterpret_cast<std::uint64_t>(handle)) ? take(q, out) : VIP_INVALID_PARAMETER;
}

VIP_RETURN wait(VIP_VI_HANDLE handle, queue vi::* which, VIP_ULONG timeout_ms, VIP_DESCRIPTOR** out) {
    if (out == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    *out = nullptr;
    vi* const v = all().vis.find(handle);
    if (v == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    queue& q = v->*which;
    return wait_on(*q.done, timeout_ms, [&] {
        return v->alive(reinterpret_cast<std::uint64_t>(handle)) ? take(q, out) : VIP_INVALID_PARAMETER;
    });
}

}  // namespace

bool start(completer& c, nic& n, std::uint32_t queues) {
    // The face waits by itself, in two halves, and guards polling by the completer's lock.
    auto made = n.native.create_completion_queue({.queues_max = queues, .spin_max = vinic::nanoseconds(0)});
    if (!made) {
        return false;
    }
    c.native = std::move(*made);
    c.owner = &n;
    c.wanted = 1;
    c.notifications = 0;
    return true;
}

/// Handles are dead: sleeping threads come back and go.
void end_sleepers(completer& c) noexcept {
    for (;;) {
        {
            const std::lock_guard hold(c.lock);
            if (c.sleepers == 0) {
                return;
            }
            c.native.wake();
        }
        std::this_thread::yield();
    }
}

}  // namespace vipl

extern "C" {

VIP_RETURN VipSendDone(VIP_VI_HANDLE ViHandle, VIP_DESCRIPTOR** DescriptorPtr) {
    return vipl::done(ViHandle, &vipl::vi::send, DescriptorPtr);
}

VIP_RETURN VipRecvDone(VIP_VI_HANDLE ViHandle, VIP_DESCRIPTOR** DescriptorPtr) {
    return vipl::done(ViHandle, &vipl::vi::receive, DescriptorPtr);
}

VIP_RETURN VipSendWait(VIP_VI_HANDLE ViHandle, VIP_ULONG Timeout, VIP_DESCRIPTOR** DescriptorPtr) {
    return vipl::wait(ViHandle, &vipl::vi::send, Timeout, DescriptorPtr);
}

VIP_RETURN VipRecvWait(VIP_VI_HANDLE ViHandle, VIP_ULONG Timeout, VIP_DESCRIPTOR** DescriptorPtr) {
    return vipl::wait(ViHandle, &vipl::vi::receive, Timeout, DescriptorPtr);
}

}  // extern "C"
