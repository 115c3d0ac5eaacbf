// SPDX-License-Identifier: Apache-2.0
//
// error_test.cc -- what goes wrong: bad descriptors, empty receive queues, lost connections, and who hears of it.
#include "fixture.hpp"
#include "overheard.hpp"

namespace vipl_test {
namespace {

class errors : public testing::TestWithParam<VIP_RELIABILITY_LEVEL> {
protected:
    [[nodiscard]] bool reliable() const { return GetParam() != VIP_SERVICE_UNRELIABLE; }
    /// The connection still carries messages, or is broken, as the level has it after an error.
    void expect_what_the_level_says(pair& q) {
        if (reliable()) {
            EXPECT_TRUE(q.left.comes_to(VIP_STATE_ERROR));
            EXPECT_TRUE(q.right.comes_to(VIP_STATE_ERROR));
            return;
        }
        EXPECT_EQ(q.left.state(), VIP_STATE_CONNECTED);
        expect_message(q);
    }
    static void expect_message(pair& q) {
        VIP_DESCRIPTOR* r = q.right.post_receive(q.right.write(200, 0, {q.right.at(0, 64)}));
        VIP_DESCRIPTOR* s = q.left.post_send(q.left.write(200, 0, {q.left.at(0, 64)}));
        EXPECT_EQ(q.left.finish_send(s), done_send);
        EXPECT_EQ(q.right.finish_receive(r), done_receive);
    }
    pair p{at_level(GetParam())};
};
VIPL_ALL_LEVELS(errors);

// -- descriptors that cannot be queued --------------------------------------------------------

TEST_P(errors, of_posting_what_is_not_a_descriptor_are_told) {
    error_log heard(p.left_nic);
    VIP_DESCRIPTOR* good = p.left.write(0, 0, {p.left.at(0, 8)});
    EXPECT_EQ(VipPostSend(p.left.vi, nullptr, p.left.memory), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipPostRecv(p.left.vi, nullptr, p.left.memory), VIP_INVALID_PARAMETER);
    auto* misaligned = reinterpret_cast<VIP_DESCRIPTOR*>(reinterpret_cast<char*>(good) + 32);
    alignas(64) VIP_DESCRIPTOR elsewhere{};
    const struct {
        VIP_DESCRIPTOR* d;
        VIP_MEM_HANDLE handle;
    } bad[] = {{misaligned, p.left.memory},
               {good, p.left.memory + 1},
               {good, 0},
               {good, 0xFFFFFFFF},
               {&elsewhere, p.left.memory},
               {reinterpret_cast<VIP_DESCRIPTOR*>(std::uintptr_t{64}), p.left.memory}};
    for (auto* post : {&VipPostSend, &VipPostRecv}) {
        for (const auto& b : bad) {
            heard.clear();
            EXPECT_EQ(post(p.left.vi, b.d, b.handle), VIP_SUCCESS) << "not a matter of the return code";
            const VIP_ERROR_DESCRIPTOR e = heard.wait_for(VIP_ERROR_POST_DESC);
            EXPECT_EQ(e.NicHandle, p.left_nic.handle);
            EXPECT_EQ(e.ViHandle, p.left.vi);
            EXPECT_EQ(e.DescriptorPtr, b.d);
            EXPECT_EQ(e.ResourceCode, VIP_RESOURCE_DESCRIPTOR);
        }
    }
    VIP_DESCRIPTOR* d = nullptr;
    EXPECT_EQ(VipSendDone(p.left.vi, &d), VIP_DESCRIPTOR_ERROR) << "none of them was queued";
    EXPECT_EQ(d, nullptr);
    expect_message(p);
}

TEST_P(errors, a_descriptor_must_lie_in_the_registered_range) {
    alignas(64) std::array<std::byte, 4096> bytes{};
    VIP_MEM_ATTRIBUTES rights{p.left.tag, VIP_FALSE, VIP_FALSE};
    VIP_MEM_HANDLE handle = 0;
    must(VipRegisterMem(p.left_nic, bytes.data(), 192, &rights, &handle));
    error_log heard(p.left_nic);
    auto* inside = reinterpret_cast<VIP_DESCRIPTOR*>(bytes.data() + 64);
    auto* at_the_end = reinterpret_cast<VIP_DESCRIPTOR*>(bytes.data() + 128);
    auto* behind = reinterpret_cast<VIP_DESCRIPTOR*>(bytes.data() + 192);
    p.left.write(inside, 0, std::array{p.left.at(0, 8), p.left.at(8, 8), p.left.at(16, 8)});
    EXPECT_EQ(VipPostRecv(p.left.vi, inside, handle), VIP_SUCCESS);
    const std::vector<piece> too_many(3, p.left.at(0, 8));
    p.left.write(at_the_end, 0, too_many);  // its third segment is outside
    EXPECT_EQ(VipPostRecv(p.left.vi, at_the_end, handle), VIP_SUCCESS);
    EXPECT_EQ(heard.wait_for(VIP_ERROR_POST_DESC).DescriptorPtr, at_the_end);
    heard.clear();
    EXPECT_EQ(VipPostRecv(p.left.vi, behind, handle), VIP_SUCCESS);
    EXPECT_EQ(heard.wait_for(VIP_ERROR_POST_DESC).DescriptorPtr, behind);
    must(VipDisconnect(p.left.vi));
    EXPECT_EQ(p.left.finish_receive(inside), done_receive | VIP_STATUS_DESC_FLUSHED_ERROR);
    must(VipDeregisterMem(p.left_nic, bytes.data(), handle));
}

TEST_P(errors, a_descriptor_of_another_tag_is_refused) {
    VIP_PROTECTION_HANDLE other = nullptr;
    must(VipCreatePtag(p.left_nic, &other));
    alignas(64) VIP_DESCRIPTOR d{};
    VIP_MEM_ATTRIBUTES rights{other, VIP_FALSE, VIP_FALSE};
    VIP_MEM_HANDLE handle = 0;
    must(VipRegisterMem(p.left_nic, &d, sizeof d, &rights, &handle));
    error_log heard(p.left_nic);
    EXPECT_EQ(VipPostSend(p.left.vi, &d, handle), VIP_SUCCESS);
    EXPECT_EQ(heard.wait_for(VIP_ERROR_POST_DESC).DescriptorPtr, &d);
    must(VipDeregisterMem(p.left_nic, &d, handle));
    must(VipDestroyPtag(p.left_nic, other));
    expect_message(p);
}

TEST_P(errors, a_link_changed_while_posted_is_told_and_not_followed) {
    error_log heard(p.right_nic);
    const pair bystander(at_level(GetParam()));
    VIP_DESCRIPTOR* first = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64)}));
    VIP_DESCRIPTOR* second = p.right.post_receive(p.right.write(1, 0, {p.right.at(64, 64)}));
    first->CS.Next.AddressBits = 0xdeadbeef00000040u;
    second->CS.NextHandle ^= 0x5555;
    for (int i = 0; i < 2; ++i) {
        VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 8)}));
        (void)p.left.finish_send(s);
    }
    VIP_DESCRIPTOR* d = nullptr;
    EXPECT_TRUE(comes_true([&] { return VipRecvDone(p.right.vi, &d) != VIP_NOT_DONE; }));
    EXPECT_EQ(d, first) << "the provider does not follow what the program wrote";
    const VIP_ERROR_DESCRIPTOR e = heard.wait_for(VIP_ERROR_POST_DESC);
    EXPECT_EQ(e.ViHandle, p.right.vi);
    EXPECT_EQ(e.DescriptorPtr, first);
    EXPECT_EQ(bystander.left.state(), VIP_STATE_CONNECTED);
}

// -- descriptors that are wrong inside --------------------------------------------------------

TEST_P(errors, malformed_send_descriptors_are_format_errors) {
    const struct {
        const char* name;
        std::uint16_t control;
        std::uint32_t reserved;
        std::uint16_t segments;
    } cases[] = {{"reserved operation", VIP_CONTROL_OP_RESERVED, 0, 2},
                 {"reserved bit", 0x0010, 0, 1},
                 {"another reserved bit", 0x8000, 0, 1},
                 {"reserved word", 0, 1, 1},
                 {"write without an address segment", VIP_CONTROL_OP_RDMAWRITE, 0, 0},
                 {"read without an address segment", VIP_CONTROL_OP_RDMAREAD, 0, 0},
                 {"too many segments", 0, 0, 253},
                 {"far too many segments", 0, 0, 0xFFFF}};
    for (const auto& c : cases) {
        SCOPED_TRACE(c.name);
        pair q(at_level(GetParam()));
        VIP_DESCRIPTOR* s = q.left.write(q.left.wide_descriptor(0), c.control, std::array{q.left.at(0, 8)});
        s->CS.Reserved = c.reserved;
        s->CS.SegCount = c.segments;
        q.left.post_send(s);
        const std::uint32_t status = q.left.finish_send(s);
        EXPECT_EQ(status & VIP_STATUS_ERROR_MASK, std::uint32_t{VIP_STATUS_FORMAT_ERROR});
        expect_what_the_level_says(q);
    }
}

TEST_P(errors, malformed_receive_descriptors_are_format_errors) {
    for (const std::uint16_t control : std::initializer_list<std::uint16_t>{
             VIP_CONTROL_OP_RDMAWRITE, VIP_CONTROL_OP_RDMAREAD, VIP_CONTROL_OP_RESERVED, 0x0100}) {
        VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, control, {p.right.at(0, 8)}));
        EXPECT_EQ(p.right.finish_receive(r), done_receive | VIP_STATUS_FORMAT_ERROR) << control;
    }
    VIP_DESCRIPTOR* r = p.right.write(p.right.wide_descriptor(0), 0, std::array{p.right.at(0, 8)});
    r->CS.SegCount = 253;
    p.right.post_receive(r);
    EXPECT_EQ(p.right.finish_receive(r), done_receive | VIP_STATUS_FORMAT_ERROR);
}

TEST_P(errors, lengths_that_do_not_add_up_are_length_errors) {
    for (std::size_t segments = 0; segments < 4; ++segments) {
        SCOPED_TRACE(segments);
        pair q(at_level(GetParam()));
        const std::vector<piece> pieces(segments, q.left.at(0, 8));
        VIP_DESCRIPTOR* s = q.left.write(q.left.wide_descriptor(0), 0, pieces);
        s->CS.Length += segments % 2 == 0 ? 1u : ~0u;
        q.left.post_send(s);
        EXPECT_EQ(q.left.finish_send(s), done_send | VIP_STATUS_LENGTH_ERROR);
        expect_what_the_level_says(q);
    }
}

TEST_P(errors, a_message_above_the_vis_transfer_size_is_a_length_error) {
    endpoint_options options = at_level(GetParam());
    options.transfer_bytes_max = 1000;
    for (const std::uint16_t operation :
         std::initializer_list<std::uint16_t>{VIP_CONTROL_OP_SENDRECV, VIP_CONTROL_OP_RDMAWRITE}) {
        pair q(options);
        VIP_DESCRIPTOR* s = operation == VIP_CONTROL_OP_SENDRECV
                                ? q.left.write(0, 0, {q.left.at(0, 500), q.left.at(0, 501)})
                                : q.left.write_rdma(0, operation, q.right.at(0, 0), {q.left.at(0, 1001)});
        q.left.post_send(s);
        EXPECT_EQ(q.left.finish_send(s) & VIP_STATUS_ERROR_MASK, std::uint32_t{VIP_STATUS_LENGTH_ERROR});
        expect_what_the_level_says(q);
    }
}

TEST_P(errors, segments_outside_of_registered_memory_are_protection_errors) {
    const struct {
        const char* name;
        std::ptrdiff_t offset;
        VIP_MEM_HANDLE handle_offset;
        std::uint32_t bytes;
    } cases[] = {{"handle", 0, 999, 8},
                 {"end", endpoint::buffer_bytes - 4, 0, 5000},
                 {"start", -(std::ptrdiff_t{1} << 24), 0, 8},
                 {"far", std::ptrdiff_t{1} << 40, 0, 8}};
    for (const auto& c : cases) {
        for (const bool sends : {true, false}) {
            SCOPED_TRACE(std::string(c.name) + (sends ? " of a send" : " of a receive"));
            pair q(at_level(GetParam()));
            const endpoint& e = sends ? q.left : q.right;
            // As a number: it is no place in any object, which is the point.
            const auto address = reinterpret_cast<std::uintptr_t>(e.buffer(0)) + static_cast<std::uintptr_t>(c.offset);
            const piece bad{reinterpret_cast<char*>(address), c.bytes, e.memory + c.handle_offset};
            const piece sent = sends ? bad : q.left.at(0, 8);
            const piece received = sends ? q.right.at(0, 8192) : bad;
            VIP_DESCRIPTOR* r = q.right.post_receive(q.right.write(0, 0, {received}));
            VIP_DESCRIPTOR* s = q.left.post_send(q.left.write(0, 0, {sent}));
            if (sends) {
                EXPECT_EQ(q.left.finish_send(s), done_send | VIP_STATUS_PROTECTION_ERROR);
                if (!reliable()) {
                    continue;  // the receive is still there
                }
                EXPECT_EQ(q.right.finish_receive(r), done_receive | VIP_STATUS_DESC_FLUSHED_ERROR);
            } else {
                (void)q.left.finish_send(s);
                EXPECT_EQ(q.right.finish_receive(r), done_receive | VIP_STATUS_PROTECTION_ERROR);
            }
            expect_what_the_level_says(q);
        }
    }
}

TEST_P(errors, a_segment_of_memory_that_was_deregistered_is_a_protection_error) {
    std::vector<char> bytes(64);
    VIP_MEM_ATTRIBUTES rights{p.right.tag, VIP_FALSE, VIP_FALSE};
    VIP_MEM_HANDLE handle = 0;
    must(VipRegisterMem(p.right_nic, bytes.data(), bytes.size(), &rights, &handle));
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {piece{bytes.data(), 64, handle}}));
    must(VipDeregisterMem(p.right_nic, bytes.data(), handle));
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 8)}));
    (void)p.left.finish_send(s);
    EXPECT_EQ(p.right.finish_receive(r), done_receive | VIP_STATUS_PROTECTION_ERROR);
    EXPECT_EQ(bytes, std::vector<char>(64));
    expect_what_the_level_says(p);
}

TEST_P(errors, a_descriptor_whose_own_memory_was_deregistered_is_told_and_not_written_to) {
    auto bytes = std::make_unique<std::array<std::byte, 256>>();
    VIP_MEM_ATTRIBUTES rights{p.right.tag, VIP_FALSE, VIP_FALSE};
    VIP_MEM_HANDLE handle = 0;
    void* at = bytes.get();
    std::size_t room = sizeof *bytes;
    auto* r = static_cast<VIP_DESCRIPTOR*>(std::align(64, sizeof(VIP_DESCRIPTOR), at, room));
    must(VipRegisterMem(p.right_nic, bytes.get(), sizeof *bytes, &rights, &handle));
    p.right.write(r, 0, std::array{p.right.at(0, 64)});
    must(VipPostRecv(p.right.vi, r, handle));
    must(VipDeregisterMem(p.right_nic, bytes.get(), handle));
    const auto before = *bytes;
    error_log heard(p.right_nic);
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 8)}));
    (void)p.left.finish_send(s);
    VIP_DESCRIPTOR* d = nullptr;
    EXPECT_TRUE(comes_true([&] { return VipRecvDone(p.right.vi, &d) != VIP_NOT_DONE; }));
    EXPECT_EQ(heard.wait_for(VIP_ERROR_COMP_PROT).DescriptorPtr, r);
    EXPECT_TRUE(*bytes == before) << "memory that is not registered is not written to";
}

// -- messages that find no place --------------------------------------------------------------

TEST_P(errors, an_empty_receive_queue_is_told_at_both_sides) {
    error_log here(p.left_nic);
    error_log there(p.right_nic);
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 8)}));
    const std::uint32_t status = p.left.finish_send(s);
    const VIP_ERROR_DESCRIPTOR e = there.wait_for(VIP_ERROR_RECVQ_EMPTY);
    EXPECT_EQ(e.ViHandle, p.right.vi);
    EXPECT_EQ(e.ResourceCode, VIP_RESOURCE_VI);
    if (!reliable()) {
        EXPECT_EQ(status, done_send) << "the data left";
    } else if (GetParam() == VIP_SERVICE_RELIABLE_RECEPTION) {
        EXPECT_EQ(status, done_send | VIP_STATUS_REMOTE_DESC_ERROR);
    } else {
        EXPECT_TRUE(status == done_send || status == (done_send | VIP_STATUS_TRANSPORT_ERROR)) << status;
    }
    expect_what_the_level_says(p);
    if (reliable()) {
        EXPECT_EQ(here.wait_for(VIP_ERROR_CONN_LOST).ViHandle, p.left.vi);
        EXPECT_EQ(there.wait_for(VIP_ERROR_CONN_LOST).ViHandle, p.right.vi);
    } else {
        EXPECT_EQ(there.count(VIP_ERROR_CONN_LOST), 0u);
    }
}

TEST_P(errors, a_message_longer_than_the_receive_is_a_length_error) {
    fill(p.right.bytes(0, 256), 1);
    VIP_DESCRIPTOR* r = p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 64), p.right.at(64, 63)}));
    VIP_DESCRIPTOR* s = p.left.post_send(p.left.write(0, 0, {p.left.at(0, 128)}));
    (void)p.left.finish_send(s);
    EXPECT_EQ(p.right.finish_receive(r), done_receive | VIP_STATUS_LENGTH_ERROR);
    std::vector<char> wanted(256);
    fill(wanted, 1);
    EXPECT_EQ(p.right.bytes(127, 1)[0], wanted[127]) << "nothing behind the buffers";
    expect_what_the_level_says(p);
}

// -- connections that end ---------------------------------------------------------------------

TEST_P(errors, the_peer_hears_that_the_connection_is_lost_and_the_one_who_ended_it_does_not) {
    error_log here(p.left_nic);
    error_log there(p.right_nic);
    must(VipDisconnect(p.left.vi));
    const VIP_ERROR_DESCRIPTOR e = there.wait_for(VIP_ERROR_CONN_LOST);
    EXPECT_EQ(e.NicHandle, p.right_nic.handle);
    EXPECT_EQ(e.ViHandle, p.right.vi);
    EXPECT_EQ(e.CQHandle, nullptr);
    EXPECT_EQ(e.DescriptorPtr, nullptr);
    EXPECT_EQ(e.ResourceCode, VIP_RESOURCE_VI);
    EXPECT_EQ(p.right.state(), VIP_STATE_ERROR);
    std::this_thread::sleep_for(quiet_time);
    EXPECT_EQ(there.count(VIP_ERROR_CONN_LOST), 1u) << "once";
    EXPECT_EQ(here.count(), 0u);
}

TEST_P(errors, the_peer_hears_of_a_nic_that_is_closed) {
    error_log there(p.right_nic);
    p.left_nic.close();
    EXPECT_EQ(there.wait_for(VIP_ERROR_CONN_LOST).ViHandle, p.right.vi);
}

// -- the handler ------------------------------------------------------------------------------

TEST_P(errors, a_handler_may_call_anything) {
    struct context {
        endpoint* e;
        std::atomic<int> calls{0};
        VIP_VI_STATE state = VIP_STATE_IDLE;
        std::size_t drained = 0;
        std::atomic<bool> finished{false};
    } c{&p.right, {}, {}, {}, {}};
    const auto handler = [](VIP_PVOID context_pointer, VIP_ERROR_DESCRIPTOR* e) {
        auto& in = *static_cast<context*>(context_pointer);
        if (e->ErrorCode != VIP_ERROR_CONN_LOST || in.calls++ != 0) {
            return;
        }
        in.state = in.e->state();
        (void)VipErrorCallback(e->NicHandle, &in, [](VIP_PVOID, VIP_ERROR_DESCRIPTOR*) {});
        (void)VipDisconnect(e->ViHandle);
        in.drained = in.e->drain();
        nic another;
        (void)another.attributes();
        in.finished = true;
    };
    must(VipErrorCallback(p.right_nic, &c, handler));
    p.right.post_receive(p.right.write(0, 0, {p.right.at(0, 8)}));
    must(VipDisconnect(p.left.vi));
    ASSERT_TRUE(comes_true([&] { return c.finished.load(); }));
    EXPECT_EQ(c.state, VIP_STATE_ERROR);
    EXPECT_EQ(c.drained, 1u);
    EXPECT_EQ(p.right.state(), VIP_STATE_IDLE);
}

TEST_P(errors, a_handler_runs_in_a_thread_of_the_provider_one_error_at_a_time) {
    struct context {
        std::atomic<int> inside{0};
        std::atomic<int> calls{0};
        std::atomic<bool> together{false};
        std::atomic<bool> here{false};
        std::thread::id program = std::this_thread::get_id();
    } c;
    const auto handler = [](VIP_PVOID context_pointer, VIP_ERROR_DESCRIPTOR*) {
        auto& in = *static_cast<context*>(context_pointer);
        in.together = in.together || ++in.inside != 1;
        in.here = in.here || in.program == std::this_thread::get_id();
        std::this_thread::sleep_for(1ms);
        --in.inside;
        ++in.calls;
    };
    must(VipErrorCallback(p.left_nic, &c, handler));
    for (int i = 0; i < 20; ++i) {
        must(VipPostSend(p.left.vi, p.left.write(0, 0, {p.left.at(0, 8)}), 0));
    }
    EXPECT_TRUE(comes_true([&] { return c.calls == 20; })) << "every one of them";
    EXPECT_FALSE(c.together);
    EXPECT_FALSE(c.here);
    must(VipErrorCallback(p.left_nic, nullptr, [](VIP_PVOID, VIP_ERROR_DESCRIPTOR*) {}));
}

TEST_P(errors, the_default_handler_logs) {
    overheard printed;
    must(VipErrorCallback(p.right_nic, nullptr, nullptr));
    must(VipDisconnect(p.left.vi));
    EXPECT_TRUE(printed.comes("CONN_LOST")) << printed.words();
}

}  // namespace
}  // namespace vipl_test
