// SPDX-License-Identifier: Apache-2.0
//
// random_model.hpp -- what the architecture says about a few VIs: their states, their queues, their completion queue.
//
//     post, connect, disconnect ---> model: which descriptor ends how, which VI goes where
//     Done, CQDone, Query       <--- model: what the library must say
//
// Sends are done as soon as they are posted and breaks are seen at once: whoever compares waits until that is so.
#pragma once

#include <vipl.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace vipl_test {

/// A descriptor in a queue of the model.
struct model_descriptor {
    std::size_t slot = 0;  ///< which of the VI's descriptors
    std::uint32_t bytes = 0;
    bool over = false;
    std::uint32_t status = 0;          ///< once it is over
    std::uint32_t other_status = 0;    ///< allowed as well; 0: none
    std::uint32_t received_seed = 0;   ///< what its buffer was filled from
    std::uint32_t received_bytes = 0;  ///< of a receive that succeeded
    std::uint32_t immediate = 0;
};

struct model_queue {
    std::deque<model_descriptor> descriptors;
    std::size_t entries = 0;  ///< in the completion queue, taken or not
    [[nodiscard]] bool empty() const { return descriptors.empty(); }
    [[nodiscard]] model_descriptor* first_open() {
        for (model_descriptor& d : descriptors) {
            if (!d.over) {
                return &d;
            }
        }
        return nullptr;
    }
    void end(model_descriptor& d, std::uint32_t status) {
        d.over = true;
        d.status = VIP_STATUS_DONE | status;
        ++entries;
    }
    void flush(std::uint32_t operation) {
        for (model_descriptor& d : descriptors) {
            if (!d.over) {
                end(d, operation | VIP_STATUS_DESC_FLUSHED_ERROR);
            }
        }
    }
};

struct model_vi {
    VIP_VI_STATE state = VIP_STATE_IDLE;
    model_vi* peer = nullptr;
    model_queue send;
    model_queue receive;

    /// The connection ends for this side, and so its peer's.
    void leave(VIP_VI_STATE to) {
        state = to;
        receive.flush(VIP_STATUS_OP_RECEIVE);
        if (peer != nullptr) {
            model_vi& other = *peer;
            peer = nullptr;
            other.peer = nullptr;
            other.leave(VIP_STATE_ERROR);
        }
    }
};

/// A message on its way through the model.
struct model_message {
    std::size_t slot = 0;
    std::uint32_t bytes = 0;
    std::uint32_t seed = 0;
    bool has_immediate = false;
    std::uint32_t immediate = 0;
};

/// A VI posts a receive of this size.
inline void model_receive(model_vi& v, std::size_t slot, std::uint32_t bytes) {
    v.receive.descriptors.push_back({.slot = slot, .bytes = bytes});
    if (v.state == VIP_STATE_ERROR) {
        v.receive.flush(VIP_STATUS_OP_RECEIVE);
    }
}

/// A VI posts a send.
inline void model_send(model_vi& v, VIP_RELIABILITY_LEVEL level, const model_message& m) {
    v.send.descriptors.push_back({.slot = m.slot, .bytes = m.bytes});
    model_descriptor& s = v.send.descriptors.back();
    if (v.state != VIP_STATE_CONNECTED) {
        v.send.end(s, VIP_STATUS_OP_SEND | VIP_STATUS_DESC_FLUSHED_ERROR);
        return;
    }
    model_vi& to = *v.peer;
    model_descriptor* r = to.receive.first_open();
    if (r != nullptr && r->bytes >= m.bytes) {
        v.send.end(s, VIP_STATUS_OP_SEND);
        r->received_seed = m.seed;
        r->received_bytes = m.bytes;
        r->immediate = m.immediate;
        to.receive.end(*r, VIP_STATUS_OP_RECEIVE | (m.has_immediate ? VIP_STATUS_IMMEDIATE : 0u));
        return;
    }
    if (r != nullptr) {
        to.receive.end(*r,
                       VIP_STATUS_OP_RECEIVE | (m.has_immediate ? VIP_STATUS_IMMEDIATE : 0u) | VIP_STATUS_LENGTH_ERROR);
        r->other_status = VIP_STATUS_DONE | VIP_STATUS_OP_RECEIVE | VIP_STATUS_LENGTH_ERROR;
    }
    if (level == VIP_SERVICE_UNRELIABLE) {
        v.send.end(s, VIP_STATUS_OP_SEND);
        return;
    }
    const bool placed = level == VIP_SERVICE_RELIABLE_RECEPTION;
    v.send.end(s, placed ? VIP_STATUS_REMOTE_DESC_ERROR : VIP_STATUS_TRANSPORT_ERROR);
    if (!placed) {
        s.other_status = VIP_STATUS_DONE | VIP_STATUS_OP_SEND;  // "handed to the network" may be all it says
    }
    v.leave(VIP_STATE_ERROR);
}

/// A VI posts an RDMA write, to memory that is lent to it or not.
inline void model_write(model_vi& v, VIP_RELIABILITY_LEVEL level, std::size_t slot, bool lent) {
    v.send.descriptors.push_back({.slot = slot});
    model_descriptor& s = v.send.descriptors.back();
    if (v.state != VIP_STATE_CONNECTED) {
        v.send.end(s, VIP_STATUS_OP_RDMA_WRITE | VIP_STATUS_DESC_FLUSHED_ERROR);
    } else if (lent || level == VIP_SERVICE_UNRELIABLE) {
        v.send.end(s, VIP_STATUS_OP_RDMA_WRITE);
        if (!lent) {
            s.other_status = VIP_STATUS_DONE | VIP_STATUS_OP_RDMA_WRITE | VIP_STATUS_RDMA_PROT_ERROR;
        }
    } else {
        v.send.end(s, VIP_STATUS_OP_RDMA_WRITE | VIP_STATUS_RDMA_PROT_ERROR);
        v.leave(VIP_STATE_ERROR);
    }
}

}  // namespace vipl_test
