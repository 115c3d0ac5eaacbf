// SPDX-License-Identifier: Apache-2.0
//
// adoption.hpp -- which parts of this process' memory lie in the device file.
//
//   buffers     native memory: lies there from the start
//   adopted     pages that were moved there in place, because a registration asked for it.  Every region that overlaps
//               them and was open before they began to leave holds them; with the last one they go back.
//
//   Life of adopted pages:
//
//     look        may they move?  All that could hold on to them, or notice, is looked at; "cannot look" means no
//
//     move in     os/page_mover.hpp
//
//     publish     for engines that look addresses up (rules/extents.hpp)
//
//     withdraw    the last region has closed: nobody looks them up any more
//
//     look again  as before; and whether a region was made since, which reaches them as foreign memory
//
//     move out    wherever the program has moved their mapping to
//
//   A failure before "publish" leaves the program's own pages, and the range is foreign. One behind "withdraw" leaves
//   the pages in the file, mapped and taken, and the call fails: it may be repeated.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "native/registry.hpp"
#include "rules/extents.hpp"
#include "tables/arena.hpp"

namespace vinic::detail {

struct buffer_body;

/// The nic's mutex guards it; what moves pages needs all nics to stand still, and the comments say so.
class adoption {
public:
    adoption(tables::memory& m, tables::arena& a) noexcept : memory_(m), arena_(a) {}
    adoption(const adoption&) = delete;
    adoption& operator=(const adoption&) = delete;

    struct held_extent {
        std::uint64_t address;
        std::uint64_t serial;  ///< which of those that were there one after the other
    };
    struct cover {
        std::vector<held_extent> held;       ///< adopted extents to release later
        std::uint64_t offset = abi::none64;  ///< file offset, if the range lies in one extent
        enum backing backing = backing::foreign;
        foreign_reason reason = foreign_reason::not_asked;
        std::vector<std::shared_ptr<buffer_body>> buffers;  ///< native memory that must live as long
    };
    /// Tells what [address, address + bytes) is, after its adoption if that is wanted: then nics stand still.
    /// errc::invalid_argument: part of it is not mapped.  Whatever fails, abandon() goes back to what was before.
    [[nodiscard]] result<void> hold(std::uint64_t address, std::uint64_t bytes, adopt wanted, cover& c);
    /// The same for a region over the whole address space.
    void hold_all(cover& c);
    /// For a region that is not made after all; also of what was adopted for it and nobody holds yet.
    void abandon(cover& c) noexcept;
    /// Gives up adopted extents; what nobody holds any more becomes the program's own memory again.  Nics stand still
    /// if there are any.  What cannot be given back stays in `held`, and the reason is returned.
    [[nodiscard]] foreign_reason release(std::vector<held_extent>& held) noexcept;

    void add_native(std::uint64_t address, std::uint64_t bytes, std::uint64_t offset,
                    const std::shared_ptr<buffer_body>& buffer);
    void remove_native(std::uint64_t address) noexcept;

    /// The nic closes.  False: pages are left that could not be given back.  Nics stand still.
    [[nodiscard]] bool release_all() noexcept;

    // Around fork: copies in the parent, put in place in the child.
    void before_fork() noexcept;
    void after_fork_in_parent() noexcept;
    void after_fork_in_child() noexcept;

private:
    struct buffer_extent {
        std::uint64_t bytes;
        std::uint64_t offset;
        std::weak_ptr<buffer_body> buffer;
    };
    struct adopted_extent {
        std::uint64_t bytes;
        std::uint64_t offset;
        std::uint64_t serial;
        std::uint32_t holders;
        bool forced;   ///< adopt::force
        bool leaving;  ///< withdrawn: no region holds it, and none may
    };
    struct range {
        std::uint64_t begin;
        std::uint64_t end;
    };
    struct mapped_part {  ///< of an adopted extent, where it is mapped now
        std::uint64_t extent;
        range at;
        std::uint64_t offset;
        bool is_ordinary;
        bool in_children;
    };
    struct forked_part {
        std::uint64_t address;
        std::uint64_t bytes;
        std::byte* copy;
        bool is_shared;  ///< the child has it, too
    };
    using buffers = std::map<std::uint64_t, buffer_extent>;
    using extents = std::map<std::uint64_t, adopted_extent>;

    [[nodiscard]] buffers::iterator buffer_at(std::uint64_t address) noexcept;
    [[nodiscard]] extents::iterator adopted_at(std::uint64_t address) noexcept;
    void collect(std::uint64_t address, std::uint64_t end, cover& c);
    [[nodiscard]] std::vector<range> outside(std::uint64_t first, std::uint64_t last);
    [[nodiscard]] foreign_reason adopt_range(std::uint64_t address, std::uint64_t end, adopt wanted);
    [[nodiscard]] static foreign_reason may_move_in(const std::vector<range>& wanted, adopt how);
    [[nodiscard]] foreign_reason move_in(const range& r, adopt how);
    [[nodiscard]] bool find_parts(std::vector<mapped_part>& parts, bool leaving_only) const;
    [[nodiscard]] foreign_reason give_back() noexcept;
    [[nodiscard]] foreign_reason move_out(extents::iterator it, const std::vector<mapped_part>& parts,
                                          const std::vector<range>& threads, foreign_reason pins) noexcept;
    [[nodiscard]] bool make_tables();
    void publish() noexcept;
    void hide_forced(bool hidden) noexcept;

    tables::memory& memory_;
    tables::arena& arena_;
    buffers buffers_;
    extents adopted_;
    std::uint64_t tables_ = 0;     ///< two, one behind the other; 0: none yet
    std::uint64_t published_ = 0;  ///< how often
    std::uint64_t serials_ = 0;
    std::uint64_t file_device_ = 0;  ///< which file the device's is, as areas tell it
    std::uint64_t file_inode_ = 0;
    std::vector<forked_part> forked_;
    bool forked_hides_ = false;  ///< what was forced is kept from the child that is being forked
};

/// Whether [begin, end) holds what the calling thread itself touches while pages move, which would park it for ever.
[[nodiscard]] bool holds_this_thread(std::uint64_t begin, std::uint64_t end) noexcept;
/// Whether anything of the process may hold on to pages; by descriptors, mappings are looked at elsewhere.
[[nodiscard]] foreign_reason pins_by_descriptor() noexcept;

struct holdings {
    explicit holdings(tables::memory& m) noexcept : arena(m), pages(m, arena) {}
    tables::arena arena;
    adoption pages;
};

}  // namespace vinic::detail
