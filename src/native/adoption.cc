// SPDX-License-Identifier: Apache-2.0
#include "native/adoption.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>

#include "os/memory.hpp"

namespace vinic::detail {

namespace {

constexpr std::uint64_t page_mask = abi::page_size - 1;
/// Unaligned ranges share their first and last page with strangers; below this size moving them is
/// not worth two more mappings.
constexpr std::uint64_t unaligned_bytes_min = 16 << 10;

/// Pages that the calling thread itself touches while they move would park it for ever: its stack
/// from here downwards, errno, and the thread control block (stack guard).
bool holds_this_thread(std::uint64_t begin, std::uint64_t end) noexcept {
    constexpr std::uint64_t stack_below = 64 << 10;
    constexpr std::uint64_t control_block = 256;
    const auto stack = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
    const auto thread = reinterpret_cast<std::uint64_t>(__builtin_thread_pointer());
    const auto error_word = reinterpret_cast<std::uint64_t>(&errno);
    const auto touches = [&](std::uint64_t from, std::uint64_t to) { return from < end && to > begin; };
    return touches(stack - stack_below, stack + abi::page_size) || touches(thread, thread + control_block) ||
           touches(error_word, error_word + sizeof errno);
}

}  // namespace

adoption::extents::iterator adoption::containing(std::uint64_t address) noexcept {
    auto it = extents_.upper_bound(address);
    if (it == extents_.begin()) {
        return extents_.end();
    }
    --it;
    return address - it->first < it->second.bytes ? it : extents_.end();
}

void adoption::adopt(std::uint64_t begin, std::uint64_t end) noexcept {
    if (begin >= end || holds_this_thread(begin, end)) {
        return;
    }
    const std::uint64_t bytes = end - begin;
    const auto offset = arena_.take_pages(bytes);
    if (!offset) {
        return;  // no room: the range stays foreign, which is correct
    }
    const auto it = extents_.emplace(begin, extent{bytes, *offset, 0, false, true, false, nullptr, {}}).first;
    if (engines_outside && (!publish() || !engines_outside())) {
        extents_.erase(it);
        arena_.give_pages(*offset, bytes);
        (void)publish();
        return;
    }
    if (os::move_into_file(begin, bytes, memory_.mapping_fd(), *offset, memory_.at<std::byte>(*offset)) != 0) {
        extents_.erase(it);
        arena_.give_pages(*offset, bytes);
        (void)publish();
        return;
    }
    it->second.moving = false;
}

result<adoption::cover> adoption::hold(std::uint64_t address, std::uint64_t bytes, bool writable) {
    const std::uint64_t end = address + bytes;
    cover c;
    const auto keep = [&](extents::iterator it) {
        if (it->second.native) {
            c.buffers.push_back(it->second.buffer.lock());
        } else {
            ++it->second.holders;
            c.held.push_back(it->first);
        }
    };
    if (auto it = containing(address); it != extents_.end() && end <= it->first + it->second.bytes) {
        c.offset = it->second.offset + (address - it->first);
        c.backing = it->second.native ? backing::native : backing::adopted;
        keep(it);
        return c;
    }

    const std::uint64_t first = address & ~page_mask;
    const std::uint64_t last = (end + page_mask) & ~page_mask;
    const bool aligned = first == address && last == end;
    const auto mapped = os::areas(first, last);
    std::uint64_t covered = first;
    for (const os::memory_area& a : mapped) {
        if (a.begin > covered || !a.readable || (writable && !a.writable)) {
            break;
        }
        covered = a.end;
    }
    if (covered < last) {
        return std::unexpected(error{errc::invalid_argument, EFAULT,
                                     "registering memory: the range is not mapped as a whole with these rights"});
    }
    // What is private and anonymous and not in the file yet moves, one extent per stretch.
    if (aligned || bytes >= unaligned_bytes_min) {
        std::uint64_t begin = first;
        for (std::size_t i = 0; i < mapped.size(); ++i) {
            const std::uint64_t from = std::max(mapped[i].begin, first);
            const std::uint64_t to = std::min(mapped[i].end, last);
            if (!mapped[i].private_anonymous || !mapped[i].writable) {
                adopt(begin, from);
                begin = to;
            }
        }
        adopt(begin, last);
    }
    std::uint64_t direct = 0;
    std::uint64_t native = 0;
    for (std::uint64_t at = address; at < end;) {
        auto it = containing(at);
        if (it == extents_.end()) {
            const auto next = extents_.upper_bound(at);
            at = next == extents_.end() ? end : next->first;
            continue;
        }
        const std::uint64_t until = std::min(end, it->first + it->second.bytes);
        direct += until - at;
        native += it->second.native ? until - at : 0;
        keep(it);
        if (at == address && until == end) {
            c.offset = it->second.offset + (address - it->first);
        }
        at = until;
    }
    c.backing = direct == 0       ? backing::foreign
                : direct < bytes  ? backing::mixed
                : native == bytes ? backing::native
                                  : backing::adopted;
    if (auto r = publish(); !r) {
        release(c.held);
        return std::unexpected(r.error());
    }
    return c;
}

void adoption::release(const std::vector<std::uint64_t>& held) noexcept {
    bool changed = false;
    for (const std::uint64_t address : held) {
        auto it = extents_.find(address);
        if (it == extents_.end() || --it->second.holders != 0) {
            continue;
        }
        give_back(it);
        changed = true;
    }
    if (changed) {
        (void)publish();
    }
}

/// Pages that the program has unmapped or replaced meanwhile are none of our business.
template <class F>
void adoption::for_mapped_parts(std::uint64_t address, const extent& e, F f) const {
    struct stat file{};
    (void)::fstat(memory_.fd(), &file);
    const std::uint64_t device = std::uint64_t{major(file.st_dev)} << 32 | minor(file.st_dev);
    for (const os::memory_area& a : os::areas(address, address + e.bytes)) {
        const std::uint64_t from = std::max(a.begin, address);
        const std::uint64_t to = std::min(a.end, address + e.bytes);
        if (a.inode == file.st_ino && a.device == device &&
            a.offset + (from - a.begin) == e.offset + (from - address)) {
            f(from, to);
        }
    }
}

void adoption::give_back(extents::iterator it) noexcept {
    const extent e = it->second;
    if (engines_outside) {
        it->second.moving = true;
        (void)publish();
        if (!engines_outside()) {
            // A stopped engine is inside: the pages stay the device's until this process leaves.
            it->second.moving = false;
            it->second.holders = 1;
            (void)publish();
            return;
        }
    }
    for_mapped_parts(it->first, e, [&](std::uint64_t from, std::uint64_t to) {
        const std::uint64_t offset = e.offset + (from - it->first);
        if (os::move_out_of_file(from, to - from, memory_.mapping_fd(), offset) != 0) {
            // Writers cannot be parked (no userfaultfd for shared memory): a private view of the
            // file, each page made our own by writing what it holds.
            (void)::mmap(reinterpret_cast<void*>(from), to - from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
                         memory_.mapping_fd(), static_cast<off_t>(offset));
            for (std::uint64_t page = from; page < to; page += abi::page_size) {
                os::own_private_page(page);
            }
        }
    });
    extents_.erase(it);
    arena_.give_pages(e.offset, e.bytes);
}

void adoption::release_all() noexcept {
    engines_outside = nullptr;  // the connections are over, and the chunks wait for stopped engines
    while (!extents_.empty()) {
        if (extents_.begin()->second.native) {
            extents_.erase(extents_.begin());
        } else {
            give_back(extents_.begin());
        }
    }
}

result<void> adoption::add_native(std::uint64_t address, std::uint64_t bytes, std::uint64_t offset,
                                  const std::shared_ptr<buffer_state>& buffer) {
    extents_.emplace(address, extent{bytes, offset, 0, true, false, false, nullptr, buffer});
    auto r = publish();
    if (!r) {
        extents_.erase(address);
    }
    return r;
}

void adoption::remove_native(std::uint64_t address) noexcept {
    extents_.erase(address);
    (void)publish();
}

result<void> adoption::publish() {
    abi::process_entry& p = memory_.process(memory_.self());
    if (extents_.size() > capacity_) {
        const auto capacity = static_cast<std::uint32_t>(std::max<std::size_t>(64, extents_.size() * 2));
        // The old table stays: an engine may be reading it.  They add up to less than the new one.
        const auto table = arena_.take(capacity * sizeof(abi::extent));
        if (!table) {
            return std::unexpected(table.error());
        }
        table_ = *table;
        capacity_ = capacity;
    }
    const std::uint32_t sequence = p.extents_sequence.load_relaxed();
    p.extents_sequence.exchange(sequence + 1);
    p.extents_offset.store_relaxed(table_);
    p.extents_capacity.store_relaxed(capacity_);
    auto* out = memory_.at<abi::extent>(table_);
    for (const auto& [address, e] : extents_) {
        out->address.store_relaxed(address);
        out->bytes.store_relaxed(e.bytes);
        out->offset.store_relaxed(e.moving ? abi::moving : e.offset);
        ++out;
    }
    p.extent_count.store_relaxed(static_cast<std::uint32_t>(extents_.size()));
    p.extents_sequence.store_release(sequence + 2);
    return {};
}

void adoption::before_fork() noexcept {
    for (auto& [address, e] : extents_) {
        std::uint64_t mapped = 0;
        if (!e.native) {
            for_mapped_parts(address, e, [&](std::uint64_t from, std::uint64_t to) { mapped += to - from; });
        }
        e.mapped_at_fork = mapped == e.bytes;
        e.fork_copy = e.mapped_at_fork ? os::copy_aside(address, e.bytes, memory_.mapping_fd(), e.offset) : nullptr;
    }
}

void adoption::after_fork_in_parent() noexcept {
    for (auto& [address, e] : extents_) {
        if (e.fork_copy != nullptr) {
            os::drop_copy(e.fork_copy, e.bytes);
            e.fork_copy = nullptr;
        }
    }
}

void adoption::after_fork_in_child(int fd) noexcept {
    for (auto& [address, e] : extents_) {
        if (e.fork_copy != nullptr) {
            os::place_copy(e.fork_copy, address, e.bytes);
        } else if (e.mapped_at_fork) {
            // Memory was short for a copy: at least nothing that the child writes reaches the parent.
            (void)::mmap(reinterpret_cast<void*>(address), e.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd,
                         static_cast<off_t>(e.offset));
        }
    }
    extents_.clear();
}

}  // namespace vinic::detail
