// SPDX-License-Identifier: Apache-2.0
//
// fabric.cc -- libfabric: messages over a reliable datagram endpoint of the provider named as PATH
// (shm).  Sends of up to the provider's inject size are injected; receives are posted ahead.
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include "peer.hpp"

namespace {

constexpr std::size_t window = 64;

void need(int code, const char* doing) {
    if (code < 0) {
        std::fprintf(stderr, "%s: %s\n", doing, fi_strerror(-code));
        _exit(1);
    }
}

/// One process' endpoint.
class side {
public:
    side(const peer::request& asked, peer::shared_words& words, int me)
        : size_(asked.size_bytes), sending_(size_, 'v'), receiving_(window * size_, 0) {
        open_endpoint(asked.path);
        exchange_names(words, me);
    }
    side(const side&) = delete;
    side& operator=(const side&) = delete;
    /// Closes everything: the provider leaves files in /dev/shm otherwise.
    ~side() {
        for (fid* each :
             {&endpoint_->fid, &receive_cq_->fid, &send_cq_->fid, &addresses_->fid, &domain_->fid, &fabric_->fid}) {
            fi_close(each);
        }
    }

    void post_receive(std::size_t slot) {
        retry([&] { return fi_recv(endpoint_, &receiving_[slot * size_], size_, nullptr, FI_ADDR_UNSPEC, nullptr); },
              "fi_recv");
    }

    /// Counts the send as outstanding unless it was injected.
    void send(std::size_t bytes) {
        if (bytes <= inject_max_) {
            retry([&] { return fi_inject(endpoint_, sending_.data(), bytes, other_); }, "fi_inject");
            return;
        }
        while (outstanding_ >= window) {
            reap_sends();
        }
        retry([&] { return fi_send(endpoint_, sending_.data(), bytes, nullptr, other_, nullptr); }, "fi_send");
        ++outstanding_;
    }

    void reap_sends() { outstanding_ -= reap(send_cq_); }
    void reap_all_sends() {
        while (outstanding_ > 0) {
            reap_sends();
        }
    }
    /// Receives that have completed.
    std::size_t reap_receives() { return reap(receive_cq_); }
    void wait_receive() {
        while (reap(receive_cq_, 1) == 0) {
        }
    }

private:
    template <class Call>
    void retry(Call call, const char* doing) {
        ssize_t code = call();
        while (code == -FI_EAGAIN) {
            // The provider makes progress only when its queues are read.
            reap_sends();
            fi_cq_read(receive_cq_, nullptr, 0);
            code = call();
        }
        need(static_cast<int>(code), doing);
    }

    std::size_t reap(fid_cq* queue, std::size_t most = 16) {
        fi_cq_entry done[16];
        const ssize_t count = fi_cq_read(queue, done, std::min<std::size_t>(most, 16));
        if (count == -FI_EAGAIN) {
            return 0;
        }
        need(static_cast<int>(count), "fi_cq_read");
        return static_cast<std::size_t>(count);
    }

    void open_endpoint(const std::string& provider) {
        fi_info* hints = fi_allocinfo();
        hints->caps = FI_MSG;
        hints->mode = FI_CONTEXT;
        hints->ep_attr->type = FI_EP_RDM;
        hints->domain_attr->threading = FI_THREAD_DOMAIN;
        hints->domain_attr->mr_mode = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
        hints->fabric_attr->prov_name = strdup(provider.c_str());
        fi_info* info = nullptr;
        need(fi_getinfo(FI_VERSION(1, 17), nullptr, nullptr, 0, hints, &info), "fi_getinfo");
        inject_max_ = info->tx_attr->inject_size;
        need(fi_fabric(info->fabric_attr, &fabric_, nullptr), "fi_fabric");
        need(fi_domain(fabric_, info, &domain_, nullptr), "fi_domain");
        fi_av_attr av{};
        av.type = FI_AV_TABLE;
        need(fi_av_open(domain_, &av, &addresses_, nullptr), "fi_av_open");
        fi_cq_attr cq{};
        cq.format = FI_CQ_FORMAT_CONTEXT;
        cq.size = 4 * window;
        need(fi_cq_open(domain_, &cq, &send_cq_, nullptr), "fi_cq_open");
        need(fi_cq_open(domain_, &cq, &receive_cq_, nullptr), "fi_cq_open");
        need(fi_endpoint(domain_, info, &endpoint_, nullptr), "fi_endpoint");
        need(fi_ep_bind(endpoint_, &addresses_->fid, 0), "fi_ep_bind");
        need(fi_ep_bind(endpoint_, &send_cq_->fid, FI_TRANSMIT), "fi_ep_bind");
        need(fi_ep_bind(endpoint_, &receive_cq_->fid, FI_RECV), "fi_ep_bind");
        need(fi_enable(endpoint_), "fi_enable");
        fi_freeinfo(hints);
        fi_freeinfo(info);
    }

    void exchange_names(peer::shared_words& words, int me) {
        std::size_t length = sizeof(words.names[me]);
        need(fi_getname(&endpoint_->fid, words.names[me], &length), "fi_getname");
        words.meet(me, 1);
        const int added = fi_av_insert(addresses_, words.names[1 - me], 1, &other_, 0, nullptr);
        if (added != 1) {
            need(added < 0 ? added : -FI_EOTHER, "fi_av_insert");
        }
        words.meet(me, 2);
    }

    std::size_t size_;
    std::vector<char> sending_;
    std::vector<char> receiving_;
    std::size_t inject_max_ = 0;
    std::size_t outstanding_ = 0;
    fid_fabric* fabric_ = nullptr;
    fid_domain* domain_ = nullptr;
    fid_av* addresses_ = nullptr;
    fid_cq* send_cq_ = nullptr;
    fid_cq* receive_cq_ = nullptr;
    fid_ep* endpoint_ = nullptr;
    fi_addr_t other_ = FI_ADDR_UNSPEC;
};

/// Every receive that will be needed is posted ahead of its message, `window` at most.
class receives {
public:
    receives(side& on, std::uint64_t count) : on_(on), count_(count) { top_up(0); }
    void top_up(std::uint64_t taken) {
        while (posted_ < std::min<std::uint64_t>(count_, taken + window)) {
            on_.post_receive(posted_++ % window);
        }
    }

private:
    side& on_;
    std::uint64_t count_;
    std::uint64_t posted_ = 0;
};

double run(side& me, const peer::request& asked, peer::shared_words& words, int which, std::uint64_t count,
           std::uint64_t step, std::vector<double>* samples) {
    const bool answers = asked.latency || which == 0;  // this side receives something
    const std::uint64_t incoming = asked.latency ? count : which == 0 ? 1 : count;
    receives posted(me, answers || which == 1 ? incoming : 0);
    words.meet(which, step);
    const double begin = peer::now_seconds();
    double before = begin;
    if (asked.latency) {
        for (std::uint64_t i = 0; i < count; ++i) {
            if (which == 1) {
                me.wait_receive();
            }
            me.send(asked.size_bytes);
            if (which == 0) {
                me.wait_receive();
                const double now = peer::now_seconds();
                if (samples != nullptr) {
                    samples->push_back(now - before);
                }
                before = now;
            }
            me.reap_sends();
            posted.top_up(i + 1);
        }
    } else if (which == 0) {
        for (std::uint64_t i = 0; i < count; ++i) {
            me.send(asked.size_bytes);
        }
        me.wait_receive();
    } else {
        for (std::uint64_t taken = 0; taken < count;) {
            taken += me.reap_receives();
            posted.top_up(taken);
        }
        me.send(1);
    }
    me.reap_all_sends();
    return peer::now_seconds() - begin;
}

}  // namespace

int main(int argument_count, char** arguments) {
    const peer::request asked = peer::read_arguments(argument_count, arguments);
    peer::shared_words* words = peer::make_shared_words();
    const std::uint64_t tries = std::clamp<std::uint64_t>((16u << 20) / asked.size_bytes, 16, 5000);
    const auto both = [&](int which, std::vector<double>& samples) {
        peer::pin_to(asked.cores[which]);
        side me(asked, *words, which);
        const double took = run(me, asked, *words, which, tries, 3, nullptr);
        if (which == 0) {
            words->count = peer::fitting_count(asked, tries, took);
        }
        words->meet(which, 4);
        if (which == 0) {
            samples.reserve(words->count);
        }
        const double seconds = run(me, asked, *words, which, words->count, 5, which == 0 ? &samples : nullptr);
        // The provider may still owe the other side progress on what was sent last.
        words->phase[which].store(6, std::memory_order_release);
        while (words->phase[1 - which].load(std::memory_order_acquire) < 6) {
            me.reap_sends();
        }
        return seconds;
    };
    const pid_t child = peer::start_child([&] {
        std::vector<double> unused;
        both(1, unused);
    });
    std::vector<double> samples;
    const double seconds = both(0, samples);
    if (asked.latency) {
        peer::print_latency(samples);
    } else {
        peer::print_stream(words->count, seconds);
    }
    return peer::wait_for_child(child);
}
