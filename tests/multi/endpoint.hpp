// SPDX-License-Identifier: Apache-2.0
//
// endpoint.hpp -- one side of a connection, and bytes that tell whether they arrived.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>
#include <vinic/vinic.hpp>

#include "multi/process.hpp"
#include "pattern.hpp"

namespace multi {

// -- bytes ------------------------------------------------------------------------------------

using tests::fill;
using tests::first_difference;

// -- endpoints --------------------------------------------------------------------------------

struct endpoint_options {
    vinic::vi_attributes attributes;
    std::size_t memory_bytes = 64 << 10;
};

/// One side of a connection: device memory, one completion queue, one VI.
class endpoint {
public:
    explicit endpoint(vinic::nic opened, const endpoint_options& options = {});

    [[nodiscard]] vinic::segment at(std::size_t offset, std::size_t n) const {
        return {memory, offset, static_cast<std::uint32_t>(n)};
    }
    [[nodiscard]] std::span<std::byte> bytes(std::size_t offset, std::size_t n) const {
        return buffer.bytes().subspan(offset, n);
    }
    [[nodiscard]] std::atomic_ref<std::uint64_t> word(std::size_t offset) const {
        return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(buffer.data() + offset));
    }
    /// A VI like the first, on the same queue.
    [[nodiscard]] vinic::virtual_interface another_vi() { return must(domain.create_vi(attributes())); }
    [[nodiscard]] vinic::vi_attributes attributes() {
        vinic::vi_attributes a = options_.attributes;
        a.send_cq = &cq;
        a.receive_cq = &cq;
        return a;
    }
    /// The next completion; an exception when none comes.
    [[nodiscard]] vinic::completion next(std::chrono::nanoseconds limit = patience,
                                         std::source_location where = std::source_location::current());
    /// The next `n` completions, polled in batches.
    [[nodiscard]] std::vector<vinic::completion> next_batch(std::size_t n);
    void connect_to(const vinic::address& name) { (void)must(vi.connect(name, patience)); }
    /// A process had it that has just died: vinicd takes it away a moment later.
    [[nodiscard]] vinic::listener listen_at_name_of_the_dead(const vinic::address& name) {
        auto made = nic.listen(name);
        (void)comes_true([&] {
            made = code_of(made) == vinic::errc::name_in_use ? nic.listen(name) : std::move(made);
            return code_of(made) != vinic::errc::name_in_use;
        });
        return must(std::move(made));
    }
    /// Waits for one request at this listener and accepts it with the VI.
    void accept_from(vinic::listener& at) {
        auto request = must(at.wait(patience));
        must(request.accept(vi));
    }

    vinic::nic nic;
    vinic::domain domain;
    vinic::completion_queue cq;
    vinic::buffer buffer;
    vinic::region memory;
    vinic::virtual_interface vi;

private:
    endpoint_options options_;
};

/// Connects with some patience for a server that does not listen yet.
void connect_patiently(vinic::virtual_interface& vi, const vinic::address& name);

/// Remote addresses travel over the channel as "address key".
[[nodiscard]] std::string to_words(const vinic::remote_address& a);
[[nodiscard]] vinic::remote_address remote_from(const std::string& words);

}  // namespace multi
