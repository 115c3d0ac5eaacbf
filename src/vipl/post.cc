// SPDX-License-Identifier: Apache-2.0
//
// post.cc -- posting descriptors: check, enter into the ring, hand the segments to the device.
//
//   The payload is never copied here, nor is the descriptor: its segments become the device's segments
//   on the caller's stack, and what must be known when it completes is in its slot of the ring.
#include <memory>
#include <mutex>
#include <span>
#include <thread>

#include "vipl/state.hpp"

namespace vipl {

namespace {

using vinic::errc;
using vinic::segment;
using vinic::send_flag;

/// What a descriptor says, read once: the program may change it while we look.
struct posted_work {
    std::uint16_t control;
    std::uint32_t segments;  ///< data segments
    std::uint32_t length;
    std::uint32_t immediate;
    const VIP_DESCRIPTOR_SEGMENT* data;
    vinic::remote_address remote;
};

[[nodiscard]] std::uint32_t operation_bits(std::uint16_t control) noexcept {
    switch (control & VIP_CONTROL_OP_MASK) {
        case VIP_CONTROL_OP_RDMAWRITE:
            return VIP_STATUS_OP_RDMA_WRITE;
        case VIP_CONTROL_OP_RDMAREAD:
            return VIP_STATUS_OP_RDMA_READ;
        default:
            return VIP_STATUS_OP_SEND;
    }
}

/// Space for a descriptor's segments that costs nothing to have.
union segment_space {
    segment_space() noexcept {}
    segment all[segments_max];
};

/// Data segments in the device's form, and their bytes together.
[[nodiscard]] std::uint64_t gather(const posted_work& r, segment_space& space) noexcept {
    std::uint64_t sum = 0;
    for (std::uint32_t i = 0; i < r.segments; ++i) {
        const VIP_DATA_SEGMENT& from = r.data[i].Local;
        const std::uint32_t bytes = from.Length;
        std::construct_at(&space.all[i], from.Data.AddressBits, bytes, from.Handle);
        sum += bytes;
    }
    return sum;
}

/// Bits of VIP_STATUS_ERROR_MASK for a send-queue descriptor that contradicts itself; 0: it does not.
[[nodiscard]] std::uint32_t read_send(const vi& v, const VIP_DESCRIPTOR& d, posted_work& r) noexcept {
    r.control = d.CS.Control;
    r.length = d.CS.Length;
    r.immediate = d.CS.ImmediateData;
    r.data = d.DS;
    const std::uint32_t operation = r.control & VIP_CONTROL_OP_MASK;
    if ((r.control & VIP_CONTROL_RESERVED) != 0 || operation == VIP_CONTROL_OP_RESERVED || d.CS.Reserved != 0 ||
        r.segments > segments_max) {
        return VIP_STATUS_FORMAT_ERROR;
    }
    if (operation == VIP_CONTROL_OP_SENDRECV) {
        return 0;
    }
    const bool reads = operation == VIP_CONTROL_OP_RDMAREAD;
    if (r.segments == 0 || (reads && ((r.control & VIP_CONTROL_IMMEDIATE) != 0 || v.level == VIP_SERVICE_UNRELIABLE))) {
        return VIP_STATUS_FORMAT_ERROR;
    }
    r.remote = {d.DS[0].Remote.Data.AddressBits, d.DS[0].Remote.Handle};
    ++r.data;
    --r.segments;
    return 0;
}

/// Gives the device a descriptor that it must fail on, so that this one ends in its turn and, at the
/// reliable levels, breaks the connection as any failed descriptor does.
[[nodiscard]] errc fail_on_purpose(vi& v, std::uint32_t cookie) noexcept {
    return v.native.post_send(segment(std::uint64_t{0}, 1, 0), cookie);
}

/// `what` is a segment or a list of them: single ones have a path of their own in the device.
template <class What>
[[nodiscard]] inline errc issue(vi& v, const posted_work& r, const What& what, std::uint64_t bytes,
                                std::uint32_t cookie, std::uint32_t& wrong) noexcept {
    if (bytes != r.length || bytes > v.transfer_bytes_max) [[unlikely]] {
        wrong = VIP_STATUS_LENGTH_ERROR;
        return errc::invalid_argument;
    }
    const auto flags = (r.control & VIP_CONTROL_IMMEDIATE) != 0 ? send_flag::immediate : send_flag::none;
    switch (r.control & VIP_CONTROL_OP_MASK) {
        case VIP_CONTROL_OP_RDMAWRITE:
            return v.native.post_write(what, r.remote, cookie, flags, r.immediate);
        case VIP_CONTROL_OP_RDMAREAD:
            return v.native.post_read(what, r.remote, cookie);
        default:
            return v.native.post_send(what, cookie, flags, r.immediate);
    }
}

[[nodiscard]] inline errc execute_single(vi& v, const posted_work& r, std::uint32_t cookie,
                                         std::uint32_t& wrong) noexcept {
    const VIP_DATA_SEGMENT& from = r.data[0].Local;
    const segment s(from.Data.AddressBits, from.Length, from.Handle);
    return issue(v, r, s, s.length, cookie, wrong);
}

[[nodiscard]] errc execute_many(vi& v, const posted_work& r, std::uint32_t cookie, std::uint32_t& wrong) noexcept {
    segment_space space;
    const std::uint64_t sum = gather(r, space);
    return issue(v, r, std::span<const segment>(space.all, r.segments), sum, cookie, wrong);
}

[[nodiscard]] inline errc execute(vi& v, const posted_work& r, std::uint32_t cookie, std::uint32_t& wrong) noexcept {
    return r.segments == 1 ? execute_single(v, r, cookie, wrong) : execute_many(v, r, cookie, wrong);
}

/// The descriptor ends here; the device has not seen it.
void end_locally(queue& q, std::uint32_t at, std::uint32_t bits) noexcept {
    const std::lock_guard hold(q.done->lock);
    q.end_locally(at, bits);
    q.done->tell();
}

/// Enters a descriptor into the ring.  VIP_NOT_DONE: it was not entered, and that is all there is to say.
[[nodiscard]] inline VIP_RETURN enter(vi& v, queue& q, VIP_DESCRIPTOR* d, VIP_MEM_HANDLE memory, std::uint32_t& at,
                                      std::uint32_t& segments) noexcept {
    const auto address = reinterpret_cast<std::uint64_t>(d);
    region_table::witness registered = nullptr;
    const std::uint64_t room = v.owner->regions.room(memory, address, v.tag_handle, registered);
    // Only the part that is always there may be read to learn how much more there is.
    const bool readable = room >= sizeof(VIP_CONTROL_SEGMENT) && address % VIP_DESCRIPTOR_ALIGNMENT == 0;
    segments = readable ? d->CS.SegCount : 0u;
    if (!readable || (segments <= segments_max &&
                      sizeof(VIP_CONTROL_SEGMENT) + segments * sizeof(VIP_DATA_SEGMENT) > room)) [[unlikely]] {
        report(*v.owner, &v, VIP_ERROR_POST_DESC, d, q.receives ? VIP_STATUS_OP_RECEIVE : VIP_STATUS_OP_SEND);
        return VIP_NOT_DONE;
    }
    if (q.full()) [[unlikely]] {
        report(*v.owner, &v, VIP_ERROR_VI_OVERRUN, d, q.receives ? VIP_STATUS_OP_RECEIVE : VIP_STATUS_OP_SEND);
        return VIP_ERROR_RESOURCE;
    }
    at = q.tail.load(std::memory_order_relaxed);
    d->CS.Next.AddressBits = 0;
    d->CS.NextHandle = 0;
    d->CS.Status = 0;
    slot& s = q.at(at);
    s.descriptor = d;
    s.registered = registered;
    s.memory = memory;
    s.set(operation_bits(d->CS.Control));
    q.tail.store(at + 1, std::memory_order_release);  // before the device has it: it may be done at once
    return VIP_SUCCESS;
}

/// Not even entered after all.
VIP_RETURN take_back(queue& q, std::uint32_t at) noexcept {
    q.tail.store(at, std::memory_order_release);
    return VIP_ERROR_RESOURCE;
}

/// A thread of ours is in a connection call.  The peer may know of the connection already, and may have
/// sent: what answers its message must not be flushed.  True: the VI is neither connected nor about to be.
[[nodiscard]] bool is_pending(const vi& v) noexcept {
    while (v.inside.load(std::memory_order_acquire) != 0) {
        if (v.native.state() != vinic::vi_state::connected) {
            return true;
        }
        std::this_thread::yield();
    }
    return false;
}

/// The device would not take it as it is: it fails in its turn, or was never connected, or is not posted.
VIP_RETURN refused(vi& v, std::uint32_t at, std::uint32_t wrong, errc e) noexcept {
    queue& q = v.send;
    slot& s = q.at(at);
    if (e == errc::invalid_argument || e == errc::message_too_large || e == errc::too_many_segments ||
        e == errc::not_supported) {
        if (wrong == 0) {
            wrong = e == errc::message_too_large ? VIP_STATUS_LENGTH_ERROR : VIP_STATUS_FORMAT_ERROR;
        }
        s.set(s.bits() | mark_malformed | wrong);
        e = fail_on_purpose(v, at);
    }
    switch (e) {
        case errc::ok:
            return VIP_SUCCESS;
        case errc::invalid_state:
            end_locally(q, at, (s.bits() & VIP_STATUS_OP_MASK) | VIP_STATUS_DESC_FLUSHED_ERROR);
            return VIP_SUCCESS;
        default:
            return take_back(q, at);
    }
}

VIP_RETURN post_send(vi& v, VIP_DESCRIPTOR* d, VIP_MEM_HANDLE memory) noexcept {
    std::uint32_t at = 0;
    posted_work r;
    if (const VIP_RETURN e = enter(v, v.send, d, memory, at, r.segments); e != VIP_SUCCESS) [[unlikely]] {
        return e == VIP_NOT_DONE ? VIP_SUCCESS : e;
    }
    std::uint32_t wrong = 0;
    if (v.inside.load(std::memory_order_acquire) != 0 && is_pending(v)) [[unlikely]] {
        return refused(v, at, wrong, errc::invalid_state);
    }
    wrong = read_send(v, *d, r);
    const errc e = wrong == 0 ? execute(v, r, at, wrong) : errc::invalid_argument;
    return e == errc::ok ? VIP_SUCCESS : refused(v, at, wrong, e);
}

VIP_RETURN post_receive(vi& v, VIP_DESCRIPTOR* d, VIP_MEM_HANDLE memory) noexcept {
    queue& q = v.receive;
    std::uint32_t at = 0;
    posted_work r;
    if (const VIP_RETURN e = enter(v, q, d, memory, at, r.segments); e != VIP_SUCCESS) [[unlikely]] {
        return e == VIP_NOT_DONE ? VIP_SUCCESS : e;
    }
    r.data = d->DS;
    if ((d->CS.Control & (VIP_CONTROL_RESERVED | VIP_CONTROL_OP_MASK)) != 0 || d->CS.Reserved != 0 ||
        r.segments > segments_max) [[unlikely]] {
        end_locally(q, at, VIP_STATUS_OP_RECEIVE | VIP_STATUS_FORMAT_ERROR);
        return VIP_SUCCESS;
    }
    errc e = errc::ok;
    if (r.segments == 1) [[likely]] {
        const VIP_DATA_SEGMENT& from = r.data[0].Local;
        e = v.native.post_receive(segment(from.Data.AddressBits, from.Length, from.Handle), at);
    } else {
        segment_space space;
        (void)gather(r, space);
        e = v.native.post_receive(std::span<const segment>(space.all, r.segments), at);
    }
    return e == errc::ok ? VIP_SUCCESS : take_back(q, at);
}

template <VIP_RETURN (*Post)(vi&, VIP_DESCRIPTOR*, VIP_MEM_HANDLE)>
VIP_RETURN post(VIP_VI_HANDLE handle, queue vi::* which, VIP_DESCRIPTOR* d, VIP_MEM_HANDLE memory) noexcept {
    vi* const v = all().vis.find(handle);
    if (v == nullptr || d == nullptr) [[unlikely]] {
        return VIP_INVALID_PARAMETER;
    }
    const std::lock_guard hold((v->*which).posting);
    return v->alive(reinterpret_cast<std::uint64_t>(handle)) ? Post(*v, d, memory) : VIP_INVALID_PARAMETER;
}

}  // namespace

}  // namespace vipl

extern "C" {

VIP_RETURN VipPostSend(VIP_VI_HANDLE ViHandle, VIP_DESCRIPTOR* DescriptorPtr, VIP_MEM_HANDLE MemHandle) {
    return vipl::post<vipl::post_send>(ViHandle, &vipl::vi::send, DescriptorPtr, MemHandle);
}

VIP_RETURN VipPostRecv(VIP_VI_HANDLE ViHandle, VIP_DESCRIPTOR* DescriptorPtr, VIP_MEM_HANDLE MemHandle) {
    return vipl::post<vipl::post_receive>(ViHandle, &vipl::vi::receive, DescriptorPtr, MemHandle);
}

VIP_RETURN VipPostDeferredSends(VIP_VI_HANDLE ViHandle, VIP_BOOLEAN EnableInterrupt, VIP_BOOLEAN* SendsDeferred) {
    (void)EnableInterrupt;  // nothing is ever deferred, so there is no interrupt to ask for
    if (vipl::all().vis.find(ViHandle) == nullptr || SendsDeferred == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    *SendsDeferred = VIP_FALSE;
    return VIP_SUCCESS;
}

}  // extern "C"
