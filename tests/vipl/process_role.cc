// SPDX-License-Identifier: Apache-2.0
//
// process_role.cc -- what the children of process_test.cc and process_death_test.cc do.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>

#include "child.hpp"
#include "fixture.hpp"

namespace vipl_test {

namespace {

using multi::channel;
using multi::require;

/// Waits for a request at a discriminator and accepts it.
void serve(endpoint& e, const std::string& discriminator, channel& words) {
    net_address here = e.device.address(discriminator);
    net_address remote;
    VIP_CONN_HANDLE request = nullptr;
    words.say("waiting");
    must(VipConnectWait(e.device, here.get(), patience_ms, remote.get(), &e.remote_attributes, &request));
    must(VipConnectAccept(request, e.vi));
}

[[nodiscard]] VIP_RELIABILITY_LEVEL hear_level(channel& words) {
    return static_cast<VIP_RELIABILITY_LEVEL>(words.hear_number());
}

/// Returns every message that it gets, with its immediate data, until the connection ends.
void echo(channel& words) {
    nic n;
    endpoint e(n, at_level(hear_level(words)));
    for (std::size_t i = 0; i < 16; ++i) {
        e.post_receive(e.write(i, 0, {e.at(i * 8192, 8192)}));
    }
    serve(e, words.hear(), words);
    for (std::size_t i = 0;; ++i) {
        VIP_DESCRIPTOR* r = e.descriptor(i % 16);
        const std::uint32_t status = e.finish_receive(r);
        if ((status & VIP_STATUS_ERROR_MASK) != 0) {
            require(status == (done_receive | VIP_STATUS_DESC_FLUSHED_ERROR), "flushed by the disconnect");
            break;
        }
        const piece message = e.at(i % 16 * 8192, r->CS.Length);
        const std::uint16_t control = (status & VIP_STATUS_IMMEDIATE) != 0 ? VIP_CONTROL_IMMEDIATE : 0;
        VIP_DESCRIPTOR* s = e.post_send(e.write(100, control, {message}, r->CS.ImmediateData));
        require(e.finish_send(s) == done_send, "an answer is sent");
        e.post_receive(e.write(i % 16, 0, {e.at(i % 16 * 8192, 8192)}));
    }
    require(e.comes_to(VIP_STATE_ERROR), "the disconnect is seen");
}

/// Lends its memory and makes no call of the library until the last word of it has changed.
void passive_target(channel& words) {
    nic n;
    endpoint e(n);
    serve(e, words.hear(), words);
    std::uint64_t place[2] = {reinterpret_cast<std::uint64_t>(e.buffer()), e.memory};
    words.say({reinterpret_cast<const char*>(place), sizeof place});
    constexpr std::size_t count = 1000;
    const auto* block = reinterpret_cast<const std::uint64_t*>(e.buffer());
    const std::atomic_ref<const std::uint64_t> tail(block[count - 1]);
    for (std::uint64_t round = 1; round <= 100; ++round) {
        while (tail.load(std::memory_order_acquire) != round) {
        }
        for (std::size_t i = 0; i < count; ++i) {
            require(block[i] == round, "everything is there when the last word is");
        }
        words.say("seen");
    }
    require(e.comes_to(VIP_STATE_ERROR), "the disconnect is seen");
}

/// Connects as an equal.
void peer(channel& words) {
    nic n;
    endpoint e(n);
    net_address here = n.address("child");
    net_address there = n.address("parent");
    VIP_DESCRIPTOR* r = e.post_receive(e.write(0, 0, {e.at(0, 100)}));
    must(VipConnectPeerRequest(e.vi, here.get(), there.get(), patience_ms));
    VIP_VI_ATTRIBUTES remote;
    must(VipConnectPeerWait(e.vi, &remote));
    require(e.finish_receive(r) == done_receive, "a message comes");
    require(bool(matches(e.bytes(0, 100), 1)), "the right one");
    words.say("received");
    words.hear("end");
}

/// Takes a request and does not answer it.
void silent_server(channel& words) {
    nic n;
    net_address here = n.address(words.hear());
    net_address remote;
    VIP_VI_ATTRIBUTES a;
    VIP_CONN_HANDLE request = nullptr;
    words.say("waiting");
    must(VipConnectWait(n, here.get(), patience_ms, remote.get(), &a, &request));
    words.say("taken");
    words.hear("never");
}

/// Waits at an address until it is told to go.
void waiter(channel& words) {
    nic n;
    net_address here = n.address(words.hear());
    std::thread waiting([&] {
        net_address remote;
        VIP_VI_ATTRIBUTES a;
        VIP_CONN_HANDLE request = nullptr;
        (void)VipConnectWait(n, here.get(), VIP_INFINITE, remote.get(), &a, &request);
    });
    std::this_thread::sleep_for(quiet_time);
    words.say("waiting");
    words.hear("go");
    n.close();
    waiting.join();
}

// -- handlers that end the process ------------------------------------------------------------

/// Is connected, with a handler that ends the process when the connection is lost.
void with_error_handler(channel& words, VIP_ERROR_HANDLER handler) {
    nic n;
    endpoint e(n);
    e.post_receive(e.write(0, 0, {}));
    must(VipErrorCallback(n, nullptr, handler));
    serve(e, words.hear(), words);
    words.say("connected");
    words.hear("never");
}

void exit_in_error_handler(channel& words) {
    with_error_handler(words, [](VIP_PVOID, VIP_ERROR_DESCRIPTOR* e) {
        if (e->ErrorCode == VIP_ERROR_CONN_LOST && e->ResourceCode == VIP_RESOURCE_VI) {
            std::exit(42);
        }
    });
}

void abort_in_error_handler(channel& words) {
    with_error_handler(words, [](VIP_PVOID, VIP_ERROR_DESCRIPTOR*) { std::abort(); });
}

void default_error_handler(channel& words) {
    nic n;
    must(VipErrorCallback(n, nullptr, nullptr));
    endpoint e(n);
    serve(e, words.hear(), words);
    words.say("connected");
    require(e.comes_to(VIP_STATE_ERROR), "the connection ends");
    words.hear("written");
}

void exit_in_notify_handler(channel& words) {
    nic n;
    endpoint e(n);
    e.post_receive(e.write(0, 0, {}));
    must(
        VipRecvNotify(e.vi, nullptr, [](VIP_PVOID, VIP_NIC_HANDLE, VIP_VI_HANDLE, VIP_DESCRIPTOR*) { std::exit(43); }));
    serve(e, words.hear(), words);
    words.say("connected");
    words.hear("never");
}

/// Ends with everything open, by a return from main.
void leave_everything_open(channel& words) {
    auto* n = new nic;  // never destroyed, on purpose
    auto* e = new endpoint(*n);
    e->post_receive(e->write(0, 0, {}));
    auto* keep = new std::vector<void*>{n, e};
    static std::vector<void*>* reachable = nullptr;
    reachable = keep;
    serve(*e, words.hear(), words);
    words.say("connected");
    words.hear("end");
    (void)reachable;
}

// -- settings ---------------------------------------------------------------------------------

void strict(channel&) {
    nic n;
    VIP_VI_ATTRIBUTES a{};
    a.ReliabilityLevel = VIP_SERVICE_RELIABLE_DELIVERY;
    a.MaxTransferSize = 100;
    VIP_VI_HANDLE vi = nullptr;
    VIP_MEM_HANDLE memory = 0;
    char bytes[10];
    VIP_MEM_ATTRIBUTES rights{};
    require(VipCreateVi(n, &a, nullptr, nullptr, &vi) == VIP_INVALID_PTAG, "a VI wants a tag");
    require(VipRegisterMem(n, bytes, sizeof bytes, &rights, &memory) == VIP_INVALID_PTAG, "memory wants a tag");
    must(VipCreatePtag(n, &a.Ptag));
    must(VipCreateVi(n, &a, nullptr, nullptr, &vi));
    VIP_VI_ATTRIBUTES without = a;
    without.Ptag = nullptr;
    require(VipSetViAttributes(vi, &without) == VIP_INVALID_PTAG, "and keeps it");
    must(VipDestroyVi(vi));
}

/// A host of its own of the same device.
void host(channel& words) {
    nic n;
    endpoint e(n);
    serve(e, words.hear(), words);
    words.say(e.device.address("").host());
    words.hear("end");
}

// -- transfers that end badly -----------------------------------------------------------------

/// Sends large messages until it is killed.
void large_sender(channel& words) {
    nic n;
    constexpr std::size_t bytes = std::size_t{64} << 20;
    endpoint_options o = at_level(hear_level(words));
    o.transfer_bytes_max = bytes;
    endpoint e(n, o);
    auto memory = std::make_unique<char[]>(bytes);
    std::memset(memory.get(), 'x', bytes);
    VIP_MEM_ATTRIBUTES rights{e.tag, VIP_FALSE, VIP_FALSE};
    VIP_MEM_HANDLE handle = 0;
    must(VipRegisterMem(n, memory.get(), bytes, &rights, &handle));
    serve(e, words.hear(), words);
    words.say("connected");
    words.hear("send");
    for (;;) {
        VIP_DESCRIPTOR* s = e.write(0, 0, {piece{memory.get(), bytes, handle}});
        e.post_send(s);
        (void)e.finish_send(s);
    }
}

/// Sends one message of 4096 bytes and says how it ended.
void sender(channel& words) {
    nic n;
    endpoint e(n, at_level(hear_level(words)));
    serve(e, words.hear(), words);
    words.say("connected");
    words.hear("send");
    VIP_DESCRIPTOR* s = e.post_send(e.write(0, 0, {e.at(0, 4096)}));
    words.say_number(e.finish_send(s));
    words.hear("end");
}

/// Does with its own side of the library whatever a broken program might.
void vandal(channel& words) {
    nic n;
    endpoint e(n, at_level(hear_level(words)));
    serve(e, words.hear(), words);
    for (std::uint32_t i = 0; i < 3000; ++i) {
        auto* d = reinterpret_cast<VIP_DESCRIPTOR*>(reinterpret_cast<char*>(e.descriptor(0)) + i * 24 % 8192);
        fill({reinterpret_cast<char*>(d), sizeof *d}, i);
        (void)VipPostSend(e.vi, d, e.memory + (i % 5 == 0 ? i : 0));
        (void)VipPostRecv(e.vi, d, e.memory);
        (void)VipPostSend(reinterpret_cast<VIP_VI_HANDLE>(std::uintptr_t{i} << 4), d, e.memory);
        (void)VipDisconnect(reinterpret_cast<VIP_VI_HANDLE>(std::uintptr_t{i} * 16 + 2));
        fill(e.bytes(0, 65536), i);
    }
    words.say("finished");
    words.hear("end");
}

}  // namespace

std::optional<int> run_role(int argument_count, char** arguments) {
    const std::map<std::string, void (*)(channel&)> roles = {{"echo", echo},
                                                             {"passive_target", passive_target},
                                                             {"peer", peer},
                                                             {"silent_server", silent_server},
                                                             {"waiter", waiter},
                                                             {"exit_in_error_handler", exit_in_error_handler},
                                                             {"abort_in_error_handler", abort_in_error_handler},
                                                             {"default_error_handler", default_error_handler},
                                                             {"exit_in_notify_handler", exit_in_notify_handler},
                                                             {"leave_everything_open", leave_everything_open},
                                                             {"strict", strict},
                                                             {"host", host},
                                                             {"large_sender", large_sender},
                                                             {"sender", sender},
                                                             {"vandal", vandal}};
    const std::string role_flag = "--role=";
    const std::string words_flag = "--words=";
    if (argument_count != 3 || !std::string_view(arguments[1]).starts_with(role_flag)) {
        return std::nullopt;
    }
    channel words(std::atoi(arguments[2] + words_flag.size()));
    try {
        roles.at(arguments[1] + role_flag.size())(words);
        return 0;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "%s: %s\n", arguments[1], e.what());
        return 1;
    }
}

}  // namespace vipl_test
