// SPDX-License-Identifier: Apache-2.0
//
// sparse_array.hpp -- a big table of which little is used.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>

namespace vinic::controller {

/// An array of zeroes that takes memory only where it is used, and never moves.
template <class T>
class sparse_array {
public:
    explicit sparse_array(std::size_t count) : count_(count) {
        void* p = ::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            throw std::bad_alloc();
        }
        data_ = static_cast<T*>(p);
    }
    sparse_array(const sparse_array&) = delete;
    sparse_array& operator=(const sparse_array&) = delete;
    ~sparse_array() { ::munmap(data_, bytes()); }
    [[nodiscard]] T& operator[](std::size_t i) const noexcept { return data_[i]; }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }

private:
    [[nodiscard]] std::size_t bytes() const noexcept { return count_ * sizeof(T); }
    T* data_ = nullptr;
    std::size_t count_;
};

}  // namespace vinic::controller
