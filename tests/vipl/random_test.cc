// SPDX-License-Identifier: Apache-2.0
//
// random_test.cc -- scripts of random calls on a few VIs do what random_model.hpp says.
//
// VINIC_VIPL_SEED=N VINIC_VIPL_SCRIPTS=COUNT: other scripts, or more of them.  A failure names the seed of its script,
// which VINIC_VIPL_SEED with VINIC_VIPL_SCRIPTS=1 replays.
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <random>

#include "fixture.hpp"
#include "random_model.hpp"

namespace vipl_test {
namespace {

constexpr std::size_t slots = 40;
constexpr std::size_t slot_bytes = 256;
constexpr std::size_t lent_offset = 2 * slots * slot_bytes;
constexpr std::size_t steps = 250;

class script {
public:
    explicit script(std::uint32_t seed) : random_(seed), level_(all_levels[seed % std::size(all_levels)]) {
        for (std::size_t i = 0; i < std::size(vis_); ++i) {
            vis_[i] = std::make_unique<one>();
            make(*vis_[i], i);
        }
    }
    void run() {
        for (step_ = 0; step_ < steps && !testing::Test::HasFailure(); ++step_) {
            SCOPED_TRACE("step " + std::to_string(step_));
            one& v = *vis_[below(std::size(vis_))];
            switch (below(16)) {
                case 0:
                case 1:
                case 2:
                    post_receive(v);
                    break;
                case 3:
                case 4:
                case 5:
                    post_send(v);
                    break;
                case 6:
                    post_write(v);
                    break;
                case 7:
                case 8:
                    take(v, false);
                    break;
                case 9:
                case 10:
                    take(v, true);
                    break;
                case 11:
                    below(4) == 0 ? disconnect(v) : query(v);
                    break;
                case 12:
                case 13:
                    connect(v, *vis_[below(std::size(vis_))]);
                    break;
                case 14:
                    take_entry();
                    break;
                default:
                    below(3) == 0 ? destroy(v) : change(v);
            }
        }
        for (auto& v : vis_) {  // what is left is as the model says, to the last descriptor
            while (!testing::Test::HasFailure() && !v->model.receive.empty()) {
                v->model.receive.first_open() != nullptr ? disconnect(*v) : take(*v, true);
            }
            while (!testing::Test::HasFailure() && !v->model.send.empty()) {
                take(*v, false);
            }
        }
    }

private:
    /// A VI and what the model says about it.
    struct one {
        std::unique_ptr<endpoint> real;
        model_vi model;
        bool used[2][slots] = {};
        std::deque<std::uint32_t> ended;  ///< statuses of the first sends of the model, taken but not yet compared
        std::size_t nic_index = 0;
    };

    std::size_t below(std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random_); }
    void make(one& v, std::size_t index) {
        endpoint_options o = at_level(level_);
        v.nic_index = index % 2;
        o.send_cq = o.receive_cq = v.nic_index == 0 ? VIP_CQ_HANDLE{cq_} : nullptr;
        v.real = std::make_unique<endpoint>(nics_[v.nic_index], o);
        v.model = {};
    }
    [[nodiscard]] static std::size_t free_slot(const one& v, bool receives) {
        std::size_t i = 0;
        while (i < slots && v.used[receives][i]) {
            ++i;
        }
        return i;
    }
    static std::size_t offset_of(std::size_t slot, bool receives) {
        return (slot + (receives ? slots : 0)) * slot_bytes;
    }
    [[nodiscard]] static VIP_DESCRIPTOR* descriptor_of(const one& v, std::size_t slot, bool receives) {
        return v.real->descriptor(slot + (receives ? slots : 0));
    }
    /// The library sees what the model has seen: sends and breaks take no time there.
    void settle(one& sender) {
        // A device of its own may execute the message after the next call, and find another receive descriptor.
        while (device_is_given() && sender.ended.size() < sender.model.send.descriptors.size()) {
            const std::size_t slot = sender.model.send.descriptors[sender.ended.size()].slot;
            sender.ended.push_back(sender.real->finish_send(descriptor_of(sender, slot, false)));
        }
        settle();
    }
    void settle() {
        for (const auto& v : vis_) {
            ASSERT_TRUE(v->real->comes_to(v->model.state));
        }
    }

    void post_receive(one& v) {
        const std::size_t i = free_slot(v, true);
        if (i == slots) {
            return;
        }
        v.used[true][i] = true;
        const auto bytes = static_cast<std::uint32_t>(below(5) == 0 ? below(9) : below(slot_bytes + 1));
        v.real->post_receive(
            v.real->write(descriptor_of(v, i, true), 0, std::array{v.real->at(offset_of(i, true), bytes)}, 0x600df00d));
        model_receive(v.model, i, bytes);
    }

    void post_send(one& v) {
        const std::size_t i = free_slot(v, false);
        if (i == slots) {
            return;
        }
        v.used[false][i] = true;
        model_message m{.slot = i, .bytes = static_cast<std::uint32_t>(below(below(2) == 0 ? 9 : slot_bytes + 1))};
        m.seed = static_cast<std::uint32_t>(random_());
        m.has_immediate = below(2) == 0;
        m.immediate = static_cast<std::uint32_t>(random_());
        fill(v.real->bytes(offset_of(i, false), m.bytes), m.seed);
        const std::uint32_t half = m.bytes / 2;
        const piece parts[] = {v.real->at(offset_of(i, false), half),
                               v.real->at(offset_of(i, false) + half, m.bytes - half)};
        v.real->post_send(v.real->write(descriptor_of(v, i, false), m.has_immediate ? VIP_CONTROL_IMMEDIATE : 0,
                                        std::span<const piece>(parts), m.immediate));
        model_send(v.model, level_, m);
        settle(v);
    }

    void post_write(one& v) {
        const std::size_t i = free_slot(v, false);
        if (i == slots) {
            return;
        }
        v.used[false][i] = true;
        one& any = *vis_[below(std::size(vis_))];
        one* target = v.model.peer != nullptr ? owner_of(v.model.peer) : &any;
        const bool lent = below(8) != 0;
        piece to = target->real->at(lent_offset, 0);
        to.handle += lent ? 0u : 0x1000u;
        v.real->post_send(v.real->write_rdma(descriptor_of(v, i, false), VIP_CONTROL_OP_RDMAWRITE, to,
                                             std::array{v.real->at(0, 100)}));
        model_write(v.model, level_, i, lent);
        settle(v);
    }

    void take(one& v, bool receives) {
        model_queue& q = receives ? v.model.receive : v.model.send;
        VIP_DESCRIPTOR* d = v.real->descriptor(500);
        if (q.empty() || !q.descriptors.front().over) {
            ASSERT_EQ((receives ? VipRecvDone : VipSendDone)(v.real->vi, &d),
                      q.empty() ? VIP_DESCRIPTOR_ERROR : VIP_NOT_DONE);
            ASSERT_EQ(d, nullptr);
            return;
        }
        const model_descriptor m = q.descriptors.front();
        q.descriptors.pop_front();
        d = descriptor_of(v, m.slot, receives);
        std::uint32_t status = 0;
        if (!receives && !v.ended.empty()) {
            status = v.ended.front();
            v.ended.pop_front();
        } else {
            status = receives ? v.real->finish_receive(d) : v.real->finish_send(d);
        }
        ASSERT_TRUE(status == m.status || (m.other_status != 0 && status == m.other_status))
            << std::hex << status << " instead of " << m.status;
        if (receives && (status & VIP_STATUS_ERROR_MASK) == 0) {
            ASSERT_EQ(d->CS.Length, m.received_bytes);
            ASSERT_TRUE(matches(v.real->bytes(offset_of(m.slot, true), m.received_bytes), m.received_seed));
            ASSERT_EQ(d->CS.ImmediateData, (status & VIP_STATUS_IMMEDIATE) != 0 ? m.immediate : 0x600df00du);
        }
        v.used[receives][m.slot] = false;
    }

    void take_entry() {
        std::size_t expected = 0;
        for (const auto& v : vis_) {
            expected += v->nic_index == 0 ? v->model.send.entries + v->model.receive.entries : 0;
        }
        cq_entry e;
        if (expected == 0) {
            ASSERT_EQ(VipCQDone(cq_, &e.vi, &e.receive), VIP_NOT_DONE);
            return;
        }
        e = next_entry(cq_);
        for (auto& v : vis_) {
            if (v->real->vi == e.vi) {
                std::size_t& entries = (e.receive != VIP_FALSE ? v->model.receive : v->model.send).entries;
                ASSERT_NE(entries, 0u) << "an entry too many";
                --entries;
                return;
            }
        }
        FAIL() << "an entry of a VI that is not there";
    }

    void query(one& v) {
        VIP_VI_STATE state;
        VIP_VI_ATTRIBUTES a;
        VIP_BOOLEAN send_empty;
        VIP_BOOLEAN receive_empty;
        ASSERT_EQ(VipQueryVi(v.real->vi, &state, &a, &send_empty, &receive_empty), VIP_SUCCESS);
        ASSERT_EQ(state, v.model.state);
        ASSERT_EQ(send_empty != VIP_FALSE, v.model.send.descriptors.size() == v.ended.size());
        ASSERT_EQ(receive_empty != VIP_FALSE, v.model.receive.empty());
    }

    void disconnect(one& v) {
        ASSERT_EQ(VipDisconnect(v.real->vi), VIP_SUCCESS);
        v.model.leave(VIP_STATE_IDLE);
        settle();
    }

    void connect(one& a, one& b) {
        net_address of_a = nics_[a.nic_index].address("a-" + std::to_string(step_));
        net_address of_b = nics_[b.nic_index].address("b-" + std::to_string(step_));
        const VIP_RETURN first = VipConnectPeerRequest(a.real->vi, of_a.get(), of_b.get(), patience_ms);
        ASSERT_EQ(first, a.model.state == VIP_STATE_IDLE ? VIP_SUCCESS : VIP_INVALID_STATE);
        if (&a == &b || b.model.state != VIP_STATE_IDLE) {
            if (first == VIP_SUCCESS) {
                disconnect(a);  // withdraws it, and flushes
            }
            return;
        }
        if (first != VIP_SUCCESS) {
            return;
        }
        if (below(2) == 0) {
            post_receive(a);  // kept in Connect Pending
        }
        VIP_VI_ATTRIBUTES remote;
        ASSERT_EQ(VipConnectPeerRequest(b.real->vi, of_b.get(), of_a.get(), patience_ms), VIP_SUCCESS);
        ASSERT_EQ(VipConnectPeerWait(a.real->vi, &remote), VIP_SUCCESS);
        ASSERT_EQ(VipConnectPeerWait(b.real->vi, &remote), VIP_SUCCESS);
        a.model.state = b.model.state = VIP_STATE_CONNECTED;
        a.model.peer = &b.model;
        b.model.peer = &a.model;
    }

    void change(one& v) {
        VIP_VI_ATTRIBUTES a = v.real->attributes();
        ASSERT_EQ(VipSetViAttributes(v.real->vi, &a),
                  v.model.state == VIP_STATE_IDLE ? VIP_SUCCESS : VIP_INVALID_STATE);
    }

    void destroy(one& v) {
        while (!v.ended.empty() && !testing::Test::HasFailure()) {
            take(v, false);
        }
        const VIP_RETURN r = VipDestroyVi(v.real->vi);
        ASSERT_EQ(r, v.model.state != VIP_STATE_IDLE                     ? VIP_INVALID_STATE
                     : !v.model.send.empty() || !v.model.receive.empty() ? VIP_ERROR_RESOURCE
                                                                         : VIP_SUCCESS);
        if (r == VIP_SUCCESS) {
            v.real->vi = nullptr;
            make(v, v.nic_index);
        }
    }

    one* owner_of(const model_vi* m) {
        for (auto& v : vis_) {
            if (&v->model == m) {
                return v.get();
            }
        }
        return nullptr;
    }

    std::mt19937 random_;
    VIP_RELIABILITY_LEVEL level_;
    nic nics_[2];
    completion_queue cq_{nics_[0]};
    std::unique_ptr<one> vis_[5];
    std::size_t step_ = 0;
};

std::uint32_t number_of(const char* variable, std::uint32_t otherwise) {
    const char* text = std::getenv(variable);
    return text == nullptr ? otherwise : static_cast<std::uint32_t>(std::strtoul(text, nullptr, 0));
}

TEST(random_scripts, do_what_the_model_says) {
    const bool is_long = std::getenv("VINIC_LONG") != nullptr;
    const std::uint32_t first = number_of("VINIC_VIPL_SEED", std::random_device()());
    const std::uint32_t count = number_of("VINIC_VIPL_SCRIPTS", is_long ? 10000 : 150);
    std::printf("VINIC_VIPL_SEED=%u\n", first);
    for (std::uint32_t i = 0; i < count; ++i) {
        SCOPED_TRACE("VINIC_VIPL_SCRIPTS=1 VINIC_VIPL_SEED=" + std::to_string(first + i));
        script(first + i).run();
        if (HasFailure()) {
            break;
        }
    }
}

}  // namespace
}  // namespace vipl_test
