// SPDX-License-Identifier: Apache-2.0
//
// handle.hpp -- from an opaque handle to a live object, whatever the program hands in.
//
//   handle = generation << 32 | index << 4 | kind.  A table holds chunks of objects that are made once
//   and used again and again, never freed: a handle that is stale, forged or of another kind is found
//   out by looking at memory that always exists, without a lock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

namespace vipl {

static_assert(sizeof(void*) == 8, "handles carry a generation in their upper half");

enum class kind : std::uint64_t { nic = 1, vi = 2, cq = 3, tag = 4, connection = 5 };

/// What every object behind a handle begins with.
struct object {
    std::atomic<std::uint64_t> handle{0};  ///< 0 while nothing lives here
    std::uint32_t index = 0;
    std::uint32_t generation = 0;
    [[nodiscard]] void* opaque() const noexcept {
        return reinterpret_cast<void*>(handle.load(std::memory_order_relaxed));
    }
};

template <class T, kind Kind, std::uint32_t Chunks>
class handle_table {
public:
    [[nodiscard]] T* find(const void* handle) const noexcept {
        const auto h = reinterpret_cast<std::uint64_t>(handle);
        const auto index = static_cast<std::uint32_t>(h) >> 4;
        const std::uint32_t chunk = index / chunk_size;
        if (chunk >= Chunks) [[unlikely]] {
            return nullptr;
        }
        T* const objects = chunks_[chunk].load(std::memory_order_acquire);
        if (objects == nullptr) [[unlikely]] {
            return nullptr;
        }
        T& t = objects[index % chunk_size];
        return h != 0 && t.handle.load(std::memory_order_acquire) == h ? &t : nullptr;
    }

    /// An object without a live handle, or nullptr: no memory, or the table is full.
    [[nodiscard]] T* take() noexcept {
        const std::lock_guard hold(mutex_);
        try {
            if (free_.empty()) {
                if (made_ == Chunks) {
                    return nullptr;
                }
                T* const objects = new (std::nothrow) T[chunk_size];
                if (objects == nullptr) {
                    return nullptr;
                }
                free_.reserve(std::size_t{made_ + 1} * chunk_size);  // so that giving back cannot fail
                for (std::uint32_t i = chunk_size; i-- > 0;) {
                    objects[i].index = made_ * chunk_size + i;
                    free_.push_back(&objects[i]);
                }
                chunks_[made_++].store(objects, std::memory_order_release);
            }
        } catch (const std::bad_alloc&) {
            return nullptr;
        }
        T* const t = free_.back();
        free_.pop_back();
        return t;
    }

    /// From here on the handle is good.
    [[nodiscard]] static void* publish(T& t) noexcept {
        t.generation = t.generation % 0x7fff'fffe + 1;
        const std::uint64_t h =
            std::uint64_t{t.generation} << 32 | std::uint64_t{t.index} << 4 | static_cast<std::uint64_t>(Kind);
        t.handle.store(h, std::memory_order_release);
        return reinterpret_cast<void*>(h);
    }

    /// From here on it is not; false: it was not before.
    static bool retire(T& t, const void* handle) noexcept {
        auto expected = reinterpret_cast<std::uint64_t>(handle);
        return t.handle.compare_exchange_strong(expected, 0);
    }

    void give(T& t) noexcept {
        const std::lock_guard hold(mutex_);
        free_.push_back(&t);
    }

private:
    static constexpr std::uint32_t chunk_size = 16;
    std::array<std::atomic<T*>, Chunks> chunks_{};
    std::mutex mutex_;
    std::vector<T*> free_;
    std::uint32_t made_ = 0;
};

}  // namespace vipl
