// SPDX-License-Identifier: Apache-2.0
//
// adoption_return.cc -- adopted pages become the program's own again, and stay its own in forked children.
#include <algorithm>
#include <new>
#include <utility>

#include "native/adoption.hpp"

namespace vinic::detail {

// -- giving back ----------------------------------------------------------------------------------

foreign_reason adoption::release(std::vector<held_extent>& held) noexcept {
    bool any = false;
    const auto find = [this](const held_extent& h) {
        const auto it = adopted_.find(h.address);
        return it != adopted_.end() && it->second.serial == h.serial ? it : adopted_.end();
    };
    for (const held_extent& h : held) {
        if (const auto it = find(h); it != adopted_.end()) {
            it->second.leaving = it->second.leaving || --it->second.holders == 0;
            any = any || it->second.leaving;
        }
    }
    const foreign_reason no = any ? give_back() : foreign_reason::none;
    std::erase_if(held, [&](const held_extent& h) {
        const auto it = find(h);
        return it == adopted_.end() || !it->second.leaving;
    });
    return held.empty() ? foreign_reason::none : no;
}

void adoption::abandon(cover& c) noexcept {
    (void)release(c.held);
    bool any = false;
    for (auto& [address, e] : adopted_) {
        if (e.holders == 0 && !e.leaving) {
            e.leaving = any = true;
        }
    }
    if (any) {
        (void)give_back();  // what cannot go back is adopted until it can
    }
}

/// Where the program maps adopted pages, or those that are leaving: parts that it has unmapped or replaced are none of
/// our business any more, and what it has moved elsewhere (realloc) is still its memory.  False: cannot look.
bool adoption::find_parts(std::vector<mapped_part>& parts, bool leaving_only) const {
    return registry().view.for_each_area([&](const os::memory_area& a) {
        // A shared mapping of the device's file, and not one that engines use.
        if (!a.shared || a.inode != file_inode_ || a.device != file_device_ || in_device_mapping(a.begin)) {
            return;
        }
        for (const auto& [address, e] : adopted_) {
            const std::uint64_t begin = std::max(a.offset, e.offset);
            const std::uint64_t end = std::min(a.offset + (a.end - a.begin), e.offset + e.bytes);
            if (begin >= end || (leaving_only && !e.leaving)) {
                continue;
            }
            const bool ordinary =
                a.readable && a.writable && !a.executable && (e.forced || a.has_only(os::kept_from_children_flags));
            parts.push_back(
                {address, {a.begin + (begin - a.offset), a.begin + (end - a.offset)}, begin, ordinary, e.forced});
        }
    });
}

/// Gives back what is leaving: all of it, but for what the reason says.  Looks once, however much there is.
foreign_reason adoption::give_back() noexcept {
    publish();
    // Open since the first adoption, unless the program has closed them.
    if (registry().view.open() != 0) {
        return foreign_reason::cannot_look;
    }
    if (registry().mover.open() != 0) {
        return foreign_reason::cannot_hold;
    }
    try {
        std::vector<mapped_part> parts;
        std::vector<range> threads;
        if (!find_parts(parts, true) ||
            !registry().view.for_each_thread([&](const os::thread_block& t) { threads.push_back({t.begin, t.end}); })) {
            return foreign_reason::cannot_look;
        }
        const foreign_reason pins = pins_by_descriptor();
        foreign_reason no = foreign_reason::none;
        for (auto it = adopted_.begin(); it != adopted_.end();) {
            const auto next = std::next(it);
            if (it->second.leaving) {
                const foreign_reason failed = move_out(it, parts, threads, pins);
                no = failed == foreign_reason::none ? no : failed;
            }
            it = next;
        }
        return no;
    } catch (const std::bad_alloc&) {
        return foreign_reason::failed;
    }
}

foreign_reason adoption::move_out(extents::iterator it, const std::vector<mapped_part>& parts,
                                  const std::vector<range>& threads, foreign_reason pins) noexcept {
    const auto of_this = [&](const mapped_part& p) { return p.extent == it->first; };
    for (const mapped_part& p : parts) {
        if (!of_this(p)) {
            continue;
        }
        if (pins != foreign_reason::none && !it->second.forced) {
            return pins;
        }
        if (!p.is_ordinary) {
            return foreign_reason::has_properties;
        }
        if (holds_this_thread(p.at.begin, p.at.end) ||
            std::ranges::any_of(threads, [&](const range& t) { return t.end > p.at.begin && t.begin < p.at.end; })) {
            return foreign_reason::holds_thread;
        }
        if (overlaps_region(p.at.begin, p.at.end, &memory_)) {
            return foreign_reason::overlapped;
        }
    }
    for (const mapped_part& p : parts) {
        if (of_this(p) &&
            registry().mover.move_out(p.at.begin, p.at.end - p.at.begin, memory_.mapping_fd(), p.offset) != 0) {
            return foreign_reason::failed;
        }
    }
    arena_.give_pages(it->second.offset, it->second.bytes);
    adopted_.erase(it);
    return foreign_reason::none;
}

bool adoption::release_all() noexcept {
    for (const auto& [address, b] : buffers_) {
        rules::mark_native(memory_.at<std::byte>(0), b.offset, b.bytes, false);
    }
    buffers_.clear();
    for (auto& [address, e] : adopted_) {
        e.leaving = true;
    }
    return adopted_.empty() || give_back() == foreign_reason::none;
}

// -- fork -----------------------------------------------------------------------------------------

/// Forked children do not get adopted pages (os/page_mover.hpp), so nothing that fails here can make parent and child
/// share them: what cannot be copied is not there in the child.  Pages whose adoption was forced they get, and lose.
void adoption::before_fork() noexcept {
    try {
        std::vector<mapped_part> parts;
        if (!adopted_.empty() && !find_parts(parts, false)) {
            parts.clear();
            for (const auto& [address, e] : adopted_) {
                parts.push_back({address, {address, address + e.bytes}, e.offset, true, e.forced});
            }
        }
        for (const mapped_part& p : parts) {
            const std::uint64_t bytes = p.at.end - p.at.begin;
            forked_.push_back({p.at.begin, bytes, nullptr, p.in_children});
            forked_.back().copy =
                os::copy_aside(memory_.at<std::byte>(p.offset), bytes, memory_.mapping_fd(), p.offset);
        }
    } catch (const std::bad_alloc&) {
        // There is no room to remember what the child would have to lose: so it does not get it.
        forked_hides_ = true;
        hide_forced(true);
    }
}

void adoption::hide_forced(bool hidden) noexcept {
    for (const auto& [address, e] : adopted_) {
        if (e.forced) {
            os::keep_from_children(address, e.bytes, hidden);
        }
    }
}

void adoption::after_fork_in_parent() noexcept {
    if (std::exchange(forked_hides_, false)) {
        hide_forced(false);
    }
    for (const forked_part& p : forked_) {
        if (p.copy != nullptr) {
            os::drop_copy(p.copy, p.bytes);
        }
    }
    forked_.clear();
}

void adoption::after_fork_in_child() noexcept {
    for (const forked_part& p : forked_) {
        (p.is_shared ? os::replace_shared : os::fill_hole)(p.copy, p.address, p.bytes);
    }
    forked_.clear();
    forked_hides_ = false;
    adopted_.clear();
    buffers_.clear();
}

}  // namespace vinic::detail
