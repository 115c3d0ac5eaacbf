// SPDX-License-Identifier: Apache-2.0
//
// actor.cc -- a process for the tests of the command line to look at.  It opens a device, does what
// each line of its standard input says, and answers each with a line: "ok ..." or "error ...".
//
//     actor shm:demo
#include <sys/mman.h>

#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>
#include <vinic/vinic.hpp>

using namespace std::chrono_literals;

namespace {

template <class T>
T must(vinic::result<T> outcome) {
    if (!outcome) {
        throw std::runtime_error(outcome.error().message());
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*outcome);
    }
}

void must(vinic::errc code) {
    if (code != vinic::errc::ok) {
        throw std::runtime_error(vinic::describe(code));
    }
}

constexpr std::uint32_t slot_bytes = 4096;

struct actor {
    explicit actor(const char* device) : nic(must(vinic::nic::open(device))) {
        domain.emplace(must(nic.create_domain()));
        cq.emplace(must(nic.create_completion_queue({.queues_max = 256})));
    }

    std::string number_of_new_vi(vinic::vi_attributes a) {
        a.send_cq = &*cq;
        a.receive_cq = &*cq;
        vis.push_back(must(domain->create_vi(a)));
        return std::to_string(vis.back().number());
    }
    vinic::virtual_interface& vi() { return vis.back(); }
    vinic::region& keep(vinic::result<vinic::region> r) {
        regions.push_back(must(std::move(r)));
        return regions.back();
    }
    /// Memory for what is sent and received, made when it is needed first.
    vinic::region& slots() {
        if (!slot_region) {
            slot_buffer.emplace(must(nic.allocate(slot_bytes)));
            slot_region.emplace(must(domain->register_memory(slot_buffer->bytes(), vinic::access::local_write)));
        }
        return *slot_region;
    }
    std::string reap(std::size_t wanted) {
        std::string all;
        for (std::size_t got = 0; got < wanted;) {
            vinic::completion done[16];
            const std::size_t n = must(cq->wait(done, 20s));
            if (n == 0) {
                throw std::runtime_error("nothing completed in 20 s");
            }
            for (std::size_t i = 0; i < n; ++i) {
                all += std::string(all.empty() ? "" : " ") + vinic::name(done[i].status);
            }
            got += n;
        }
        return all;
    }

    vinic::nic nic;
    std::optional<vinic::domain> domain;
    std::optional<vinic::completion_queue> cq;
    std::vector<vinic::virtual_interface> vis;
    std::vector<vinic::region> regions;
    std::vector<vinic::buffer> buffers;
    std::optional<vinic::buffer> slot_buffer;
    std::optional<vinic::region> slot_region;
    std::vector<vinic::listener> listeners;
    vinic::datagram_address target;
};

using command = std::function<std::string(actor&, std::istream&)>;

template <class T>
T next(std::istream& words) {
    T t{};
    if (!(words >> t)) {
        throw std::runtime_error("a word is missing");
    }
    return t;
}

vinic::vi_attributes attributes(std::istream& words) {
    vinic::vi_attributes a{.send_depth = 16, .receive_depth = 16};
    for (std::string word; words >> word;) {
        if (word == "unreliable") {
            a.reliability = vinic::reliability::unreliable;
        } else if (word == "reception") {
            a.reliability = vinic::reliability::reception;
        } else if (word == "break") {
            a.receiver_wait = 0ns;
        }
    }
    return a;
}

const std::map<std::string, command>& memory_commands() {
    static const std::map<std::string, command> all = {
        {"buffer",
         [](actor& a, std::istream& in) {
             a.buffers.push_back(must(a.nic.allocate(next<std::size_t>(in))));
             const auto rights = vinic::access::local_write | vinic::access::remote_write;
             return std::to_string(a.keep(a.domain->register_memory(a.buffers.back().bytes(), rights)).key());
         }},
        {"pages",
         [](actor& a, std::istream& in) {
             // Never unmapped: the process ends with its regions.
             const auto bytes = next<std::size_t>(in);
             void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
             if (at == MAP_FAILED) {
                 throw std::runtime_error("no memory");
             }
             const std::span<const std::byte> range(static_cast<std::byte*>(at), bytes);
             return std::to_string(
                 a.keep(a.domain->register_memory(range, vinic::access::remote_read, {vinic::adopt::safe})).key());
         }},
        {"everything",
         [](actor& a, std::istream&) {
             return std::to_string(a.keep(a.domain->register_address_space(vinic::access::none)).key());
         }},
        {"forget",
         [](actor& a, std::istream&) {
             must(a.regions.back().close());
             a.regions.pop_back();
             return std::string();
         }},
    };
    return all;
}

const std::map<std::string, command>& connection_commands() {
    static const std::map<std::string, command> all = {
        {"vi", [](actor& a, std::istream& in) { return a.number_of_new_vi(attributes(in)); }},
        {"datagram",
         [](actor& a, std::istream& in) {
             const std::string number = a.number_of_new_vi(
                 {.reliability = vinic::reliability::unreliable, .service = vinic::service::datagram});
             must(a.vi().bind(vinic::address(next<std::string>(in))));
             return number;
         }},
        {"listen",
         [](actor& a, std::istream& in) {
             vinic::address at(next<std::string>(in));
             for (int byte = 0; in >> byte;) {
                 at.discriminator.push_back(static_cast<std::byte>(byte));
             }
             a.listeners.push_back(must(a.nic.listen(at)));
             return std::string();
         }},
        {"accept",
         [](actor& a, std::istream&) {
             auto request = must(a.listeners.back().wait(20s));
             must(request.accept(a.vi()));
             return std::string();
         }},
        {"connect",
         [](actor& a, std::istream& in) {
             must(a.vi().connect(vinic::address(next<std::string>(in)), 20s));
             return std::string();
         }},
        {"peer",
         [](actor& a, std::istream& in) {
             const vinic::address local(next<std::string>(in));
             must(a.vi().connect_peer(local, vinic::address(next<std::string>(in)), 60s));
             return std::string();
         }},
        {"disconnect",
         [](actor& a, std::istream&) {
             must(a.vi().disconnect());
             return std::string();
         }},
        {"close",
         [](actor& a, std::istream&) {
             must(a.vi().close());
             a.vis.pop_back();
             return std::string();
         }},
    };
    return all;
}

const std::map<std::string, command>& transfer_commands() {
    static const std::map<std::string, command> all = {
        {"receive",
         [](actor& a, std::istream& in) {
             const auto bytes = next<std::uint32_t>(in);
             for (auto n = next<int>(in); n > 0; --n) {
                 must(a.vi().post_receive({a.slots(), 0, bytes}, 0));
             }
             return std::string();
         }},
        {"send",
         [](actor& a, std::istream& in) {
             const auto bytes = next<std::uint32_t>(in);
             for (auto n = next<int>(in); n > 0; --n) {
                 must(a.vi().post_send({a.slots(), 0, bytes}, 0));
             }
             return std::string();
         }},
        {"resolve",
         [](actor& a, std::istream& in) {
             a.target = must(a.nic.resolve(vinic::address(next<std::string>(in))));
             return std::string();
         }},
        {"send_to",
         [](actor& a, std::istream& in) {
             const vinic::segment s{a.slots(), 0, next<std::uint32_t>(in)};
             must(a.vi().send_to(a.target, {&s, 1}, 0));
             return std::string();
         }},
        {"write",
         [](actor& a, std::istream& in) {
             const auto bytes = next<std::uint32_t>(in);
             const auto address = next<std::uint64_t>(in);
             must(a.vi().post_write({a.slots(), 0, bytes}, {address, next<std::uint32_t>(in)}, 0));
             return std::string();
         }},
        {"reap", [](actor& a, std::istream& in) { return a.reap(next<std::size_t>(in)); }},
    };
    return all;
}

std::string obey(actor& a, const std::string& line) {
    std::istringstream words(line);
    const auto word = next<std::string>(words);
    for (const auto* commands : {&memory_commands(), &connection_commands(), &transfer_commands()}) {
        if (const auto found = commands->find(word); found != commands->end()) {
            return found->second(a, words);
        }
    }
    throw std::runtime_error("unknown command " + word);
}

}  // namespace

int main(int argc, char** argv) {
    std::optional<actor> a;
    try {
        a.emplace(argc > 1 ? argv[1] : "shm:demo");
        std::puts("ok");
    } catch (const std::exception& why) {
        std::printf("error %s\n", why.what());
        return 1;
    }
    std::fflush(stdout);
    for (std::string line; std::getline(std::cin, line);) {
        try {
            std::printf("ok %s\n", obey(*a, line).c_str());
        } catch (const std::exception& why) {
            std::printf("error %s\n", why.what());
        }
        std::fflush(stdout);
    }
    return 0;
}
