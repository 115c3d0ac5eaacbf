// SPDX-License-Identifier: Apache-2.0
//
// adoption.cc -- finds what lies in the file already, moves the rest in, and publishes the table of it.
#include "native/adoption.hpp"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "placement/call.hpp"

namespace vinic::detail {

namespace {

constexpr std::uint64_t page_mask = abi::page_size - 1;
/// For ranges whose ends stay foreign: below this size moving what is between them is not worth it.
constexpr std::uint64_t unaligned_bytes_min = 16 << 10;

template <class Map>
typename Map::iterator containing(Map& map, std::uint64_t address) noexcept {
    auto it = map.upper_bound(address);
    if (it == map.begin()) {
        return map.end();
    }
    --it;
    return address - it->first < it->second.bytes ? it : map.end();
}

}  // namespace

/// Its stack from here downwards, errno, and the thread control block (stack guard).
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

foreign_reason pins_by_descriptor() noexcept {
    switch (registry().view.holds_pages_by_descriptor()) {
        case os::answer::no:
            return foreign_reason::none;
        case os::answer::yes:
            return foreign_reason::may_be_pinned;
        default:
            return foreign_reason::cannot_look;
    }
}

adoption::buffers::iterator adoption::buffer_at(std::uint64_t address) noexcept {
    return containing(buffers_, address);
}

adoption::extents::iterator adoption::adopted_at(std::uint64_t address) noexcept {
    const auto it = containing(adopted_, address);
    return it != adopted_.end() && it->second.leaving ? adopted_.end() : it;
}

// -- registering ----------------------------------------------------------------------------------

result<void> adoption::hold(std::uint64_t address, std::uint64_t bytes, adopt wanted, cover& c) {
    const std::uint64_t end = address + bytes;
    const std::uint64_t first = address & ~page_mask;
    const std::uint64_t last = (end + page_mask) & ~page_mask;
    if (const auto b = buffer_at(address); b == buffers_.end() || end > b->first + b->second.bytes) {
        if (last <= first || !os::is_mapped(first, last - first)) {
            return std::unexpected(
                error{errc::invalid_argument, EFAULT, "registering memory: the range is not mapped as a whole"});
        }
        if (wanted != adopt::no) {
            c.reason = adopt_range(address, end, wanted);
        }
    }
    collect(address, end, c);
    return {};
}

/// Holds what lies in the file of [address, end), and says how much of it does.
void adoption::collect(std::uint64_t address, std::uint64_t end, cover& c) {
    std::uint64_t native = 0;
    std::uint64_t adopted = 0;
    std::uint64_t offset = abi::none64;
    for (std::uint64_t at = address; at < end;) {
        std::uint64_t until = end;
        if (const auto b = buffer_at(at); b != buffers_.end()) {
            until = std::min(end, b->first + b->second.bytes);
            native += until - at;
            offset = b->second.offset + (at - b->first);
            c.buffers.push_back(b->second.buffer.lock());
        } else if (const auto a = adopted_at(at); a != adopted_.end()) {
            until = std::min(end, a->first + a->second.bytes);
            adopted += until - at;
            offset = a->second.offset + (at - a->first);
            c.held.push_back({a->first, a->second.serial});
            ++a->second.holders;
        } else {
            if (const auto next = buffers_.upper_bound(at); next != buffers_.end()) {
                until = std::min(until, next->first);
            }
            if (const auto next = adopted_.upper_bound(at); next != adopted_.end()) {
                until = std::min(until, next->first);
            }
        }
        if (at == address && until == end) {
            c.offset = offset;
        }
        at = until;
    }
    const std::uint64_t bytes = end - address;
    c.backing = native + adopted == 0      ? backing::foreign
                : native + adopted < bytes ? backing::mixed
                : native == bytes          ? backing::native
                                           : backing::adopted;
    if (native + adopted == bytes) {
        c.reason = foreign_reason::none;
    }
}

void adoption::hold_all(cover& c) {
    c.backing = backing::mixed;
    c.held.reserve(adopted_.size());
    for (auto& [address, e] : adopted_) {
        if (!e.leaving) {
            c.held.push_back({address, e.serial});
            ++e.holders;
        }
    }
}

/// The parts of [first, last) that do not lie in the file yet.
std::vector<adoption::range> adoption::outside(std::uint64_t first, std::uint64_t last) {
    std::vector<range> parts;
    for (std::uint64_t at = first; at < last;) {
        const auto b = containing(buffers_, at);
        const auto a = containing(adopted_, at);
        if (b != buffers_.end()) {
            at = b->first + b->second.bytes;
            continue;
        }
        if (a != adopted_.end()) {
            at = a->first + a->second.bytes;
            continue;
        }
        const auto next_buffer = buffers_.upper_bound(at);
        const auto next_adopted = adopted_.upper_bound(at);
        const std::uint64_t until = std::min({last, next_buffer == buffers_.end() ? last : next_buffer->first,
                                              next_adopted == adopted_.end() ? last : next_adopted->first});
        parts.push_back({at, until});
        at = until;
    }
    return parts;
}

/// All whole pages of the range move, or the reason why none of them does.  Its neighbours on the first and the last
/// page may be anybody's, and nobody is asked: a lock of the C library's, that a forked child resets before anything
/// else.
foreign_reason adoption::adopt_range(std::uint64_t address, std::uint64_t end, adopt wanted) {
    const std::uint64_t outward = wanted == adopt::force ? 0 : page_mask;
    const std::uint64_t first = (address + outward) & ~page_mask;
    const std::uint64_t last = (end + page_mask - outward) & ~page_mask;
    if (first >= last || ((first != address || last != end) && last - first < unaligned_bytes_min)) {
        return foreign_reason::shares_pages;
    }
    const std::vector<range> parts = outside(first, last);
    if (parts.empty()) {
        return foreign_reason::shares_pages;
    }
    if (adopted_.size() + parts.size() > rules::adopted_table::extents_max) {
        return foreign_reason::too_many;
    }
    for (const range& r : parts) {
        if (overlaps_region(r.begin, r.end, nullptr)) {
            return foreign_reason::overlapped;
        }
    }
    if (memory_.mapping_fd() < 0 || registry().view.open() != 0) {
        return foreign_reason::cannot_look;
    }
    if (!os::page_mover::can_move_out(memory_.mapping_fd()) || registry().mover.open() != 0) {
        return foreign_reason::cannot_hold;
    }
    if (const foreign_reason no = may_move_in(parts, wanted); no != foreign_reason::none) {
        return no;
    }
    for (const range& r : parts) {
        if (const foreign_reason failed = move_in(r, wanted); failed != foreign_reason::none) {
            return failed;
        }
    }
    return foreign_reason::shares_pages;  // what is left, if anything is
}

foreign_reason adoption::may_move_in(const std::vector<range>& wanted, adopt how) {
    const bool safe = how == adopt::safe;
    foreign_reason no = foreign_reason::none;
    const auto refuse = [&](foreign_reason why) { no = no == foreign_reason::none ? why : no; };
    std::uint64_t missing = 0;
    for (const range& r : wanted) {
        missing += r.end - r.begin;
        if (holds_this_thread(r.begin, r.end)) {
            return foreign_reason::holds_thread;
        }
    }
    bool pinned = false;
    std::vector<range> above;  // a thread whose block is in one of these may have its stack in what is wanted
    const bool seen = registry().view.for_each_area([&](const os::memory_area& a) {
        pinned = pinned || !a.is_of_harmless_kind();
        for (const range& r : wanted) {
            const std::uint64_t begin = std::max(a.begin, r.begin);
            const std::uint64_t end = std::min(a.end, r.end);
            if (begin >= end) {
                continue;
            }
            missing -= end - begin;
            above.push_back({end, a.end});
            if (a.shared || !a.is_anonymous() || !a.readable || !a.writable || a.executable) {
                refuse(foreign_reason::not_private);
            } else if (safe && (!a.has_only(os::ordinary_flags) || os::has_own_policy(begin))) {
                refuse(foreign_reason::has_properties);
            }
        }
    });
    if (!seen || missing != 0) {
        return seen ? foreign_reason::not_private : foreign_reason::cannot_look;
    }
    if (no == foreign_reason::none && safe) {
        no = pinned ? foreign_reason::may_be_pinned : pins_by_descriptor();
    }
    if (no == foreign_reason::none && !registry().view.for_each_thread([&](const os::thread_block& t) {
            const auto touches = [&](const range& r) { return t.end > r.begin && t.begin < r.end; };
            if (std::ranges::any_of(wanted, touches) || (!t.is_first && std::ranges::any_of(above, touches))) {
                refuse(foreign_reason::holds_thread);
            }
        })) {
        refuse(foreign_reason::cannot_look);
    }
    return no;
}

foreign_reason adoption::move_in(const range& r, adopt how) {
    const std::uint64_t bytes = r.end - r.begin;
    if (!make_tables()) {
        return foreign_reason::out_of_room;
    }
    extents made;  // before the pages are taken: what follows needs no memory of the program's
    made.emplace(r.begin, adopted_extent{bytes, 0, ++serials_, 0, how == adopt::force, false});
    const auto offset = arena_.take_pages(bytes);
    if (!offset) {
        return foreign_reason::out_of_room;
    }
    made.begin()->second.offset = *offset;
    make_room(forked_, 2 * (adopted_.size() + 1));
    const auto it = adopted_.insert(made.extract(made.begin())).position;
    // What others share may be needed in a forked child before our handler runs there.
    const bool in_children = how == adopt::force;
    if (registry().mover.move_in(r.begin, bytes, registry().view.pagemap(), memory_.mapping_fd(), *offset,
                                 in_children) != 0) {
        adopted_.erase(it);
        arena_.give_pages(*offset, bytes);
        return foreign_reason::failed;
    }
    publish();
    return foreign_reason::none;
}

// -- what engines are told ------------------------------------------------------------------------

void adoption::add_native(std::uint64_t address, std::uint64_t bytes, std::uint64_t offset,
                          const std::shared_ptr<buffer_body>& buffer) {
    buffers_.emplace(address, buffer_extent{bytes, offset, buffer});
    rules::mark_native(memory_.at<std::byte>(0), offset, bytes, true);
}

void adoption::remove_native(std::uint64_t address) noexcept {
    if (const auto it = buffers_.find(address); it != buffers_.end()) {
        rules::mark_native(memory_.at<std::byte>(0), it->second.offset, it->second.bytes, false);
        buffers_.erase(it);
    }
}

bool adoption::make_tables() {
    if (tables_ != 0) {
        return true;
    }
    struct stat file{};
    if (::fstat(memory_.mapping_fd(), &file) != 0) {
        return false;
    }
    const auto taken = arena_.take(2 * rules::adopted_table::bytes);
    if (!taken) {
        return false;
    }
    tables_ = *taken;
    file_device_ = std::uint64_t{major(file.st_dev)} << 32 | minor(file.st_dev);
    file_inode_ = file.st_ino;
    return true;
}

void adoption::publish() noexcept {
    rules::adopted_table t;
    t.offset = tables_ + (++published_ & 1) * rules::adopted_table::bytes;
    auto* out = memory_.at<abi::extent>(t.offset);
    for (const auto& [address, e] : adopted_) {
        if (!e.leaving) {
            out[t.count].address.store_relaxed(address);
            out[t.count].bytes.store_relaxed(e.bytes);
            out[t.count].offset.store_relaxed(e.offset);
            ++t.count;
        }
    }
    // Release: pairs with find_extent's acquire.
    memory_.process(memory_.self()).adopted.store_release(t.word(published_));
}

}  // namespace vinic::detail
