// SPDX-License-Identifier: Apache-2.0
//
// self_view.hpp -- what this process has mapped and open, and where its threads live.
//
//   Everything that looking needs is opened beforehand: a later look needs no descriptor, no memory and no path.
//   "Cannot look" is an answer of its own and never taken for "nothing there".
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "os/kept_fd.hpp"

namespace vinic::os {

/// Whether every page of [address, address + bytes) is mapped, with whatever rights.  Whole pages; costs as much
/// for 4 KiB as for 4 GiB, touches none of them, and needs no descriptor.
[[nodiscard]] bool is_mapped(std::uint64_t address, std::uint64_t bytes) noexcept;

/// One mapping, as /proc/self/smaps tells.
struct memory_area {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool readable = false;
    bool writable = false;
    bool executable = false;
    bool shared = false;
    std::uint64_t offset = 0;
    std::uint64_t device = 0;  ///< major << 32 | minor
    std::uint64_t inode = 0;
    std::uint32_t protection_key = 0;
    std::string_view name;   ///< until the next area
    std::string_view flags;  ///< pairs of letters, as proc(5) explains them; until the next area

    /// No file, and no place of the kernel's such as a stack.
    [[nodiscard]] bool is_anonymous() const noexcept;
    /// Whether all of its flags are among `allowed`, and no protection key guards it.
    [[nodiscard]] bool has_only(std::string_view allowed) const noexcept;
    /// Whether nobody holds on to pages through such a mapping: memory, files, what the kernel maps by itself.
    [[nodiscard]] bool is_of_harmless_kind() const noexcept;
};

/// Flags of private anonymous memory of which nothing was asked, and of a shared mapping that forked children do not
/// get.
inline constexpr std::string_view ordinary_flags = "rd wr mr mw me ac nr sd";
inline constexpr std::string_view kept_from_children_flags = "rd wr sh mr mw me ms dc nr sd";

/// A thread's control block, with what the kernel writes there.
struct thread_block {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    bool is_first =
        false;  ///< its stack is the kernel's; that of others lies below their block, in one mapping with it
};

/// The answer to a question that may not be answered.
enum class answer : std::uint8_t { no, yes, unknown };

/// Not thread-safe.
class self_view {
public:
    self_view();
    ~self_view();
    self_view(const self_view&) = delete;
    self_view& operator=(const self_view&) = delete;

    /// 0 or errno.  Once is enough, but for a program that has closed what was opened: that is opened again.
    [[nodiscard]] int open() noexcept;
    void close() noexcept;

    /// f(area) for every mapping, in order.  False: cannot look, and what f was told may not be all.
    template <class F>
    [[nodiscard]] bool for_each_area(F f) {
        if (!begin_areas()) {
            return false;
        }
        memory_area area;
        step s = step::found;
        while ((s = next_area(area)) == step::found) {
            f(static_cast<const memory_area&>(area));
        }
        return s == step::end;
    }
    /// f(thread) for every thread.  False: cannot look, or a thread is none of the C library's.
    template <class F>
    [[nodiscard]] bool for_each_thread(F f) {
        if (!begin_threads()) {
            return false;
        }
        thread_block b;
        step s = step::found;
        while ((s = next_thread(b)) == step::found) {
            f(static_cast<const thread_block&>(b));
        }
        return s == step::end;
    }
    /// Whether the process has a descriptor open through which pages of its memory may be held: anything that is
    /// not known to be harmless.
    [[nodiscard]] answer holds_pages_by_descriptor() noexcept;
    /// A descriptor of /proc/self/pagemap, which tells what pages exist.
    [[nodiscard]] int pagemap() const noexcept { return pagemap_.get(); }

private:
    enum class step : std::uint8_t { found, end, failed };
    struct reader;  // one file of /proc, line by line or entry by entry
    [[nodiscard]] bool begin_areas() noexcept;
    [[nodiscard]] step next_area(memory_area& out) noexcept;
    [[nodiscard]] bool begin_threads() noexcept;
    [[nodiscard]] step next_thread(thread_block& out) noexcept;

    // Looked at where reading begins: a look for each line would cost more than the line.
    kept_fd areas_;
    kept_fd threads_;
    kept_fd descriptors_;
    kept_fd pagemap_;
    std::unique_ptr<reader> reader_;
    bool this_thread_seen_ = false;
};

/// Whether a policy of its own says on which node the memory at `address` lies.
[[nodiscard]] bool has_own_policy(std::uint64_t address) noexcept;

}  // namespace vinic::os
