// SPDX-License-Identifier: Apache-2.0
//
// endpoint.cc -- making an endpoint, connecting, and waiting for completions.
#include "multi/endpoint.hpp"

#include <array>
#include <sstream>

namespace multi {

endpoint::endpoint(vinic::nic opened, const endpoint_options& options)
    : nic(std::move(opened)),
      domain(must(nic.create_domain())),
      cq(must(nic.create_completion_queue())),
      buffer(must(nic.allocate(options.memory_bytes))),
      memory(must(domain.register_memory(buffer.bytes(), vinic::access::all))),
      options_(options) {
    vi = another_vi();
}

vinic::completion endpoint::next(std::chrono::nanoseconds limit, std::source_location where) {
    std::array<vinic::completion, 1> done;
    if (must(cq.wait(done, limit), where) != 1) {
        require(false, "a completion comes", where);
    }
    return done[0];
}

std::vector<vinic::completion> endpoint::next_batch(std::size_t n) {
    std::vector<vinic::completion> all(n);
    for (std::size_t have = 0; have < n;) {
        const std::size_t got = must(cq.wait(std::span(all).subspan(have), patience));
        require(got != 0, "the expected completions come");
        have += got;
    }
    return all;
}

void connect_patiently(vinic::virtual_interface& vi, const vinic::address& name) {
    vinic::result<vinic::peer_information> made;
    const bool connected = comes_true([&] {
        made = vi.connect(name, patience);
        return made || made.error().code != vinic::errc::no_listener;
    });
    require(connected, "somebody listens at '" + name.name + "'");
    (void)must(std::move(made));
}

std::string to_words(const vinic::remote_address& a) { return std::to_string(a.address) + " " + std::to_string(a.key); }

vinic::remote_address remote_from(const std::string& words) {
    std::istringstream in(words);
    vinic::remote_address a;
    in >> a.address >> a.key;
    return a;
}

}  // namespace multi
