// SPDX-License-Identifier: Apache-2.0
//
// vi.cc -- how a virtual interface is disconnected and closed.
#include "native/cq.hpp"
#include "placement/call.hpp"

namespace vinic {

namespace detail {

result<void> vi_body::disconnect(tables::patience p) {
    if (nic->forked()) {
        return std::unexpected(nic->fail(errc::forked, "disconnecting a VI"));
    }
    const std::lock_guard hold(connect_mutex);
    return disconnect_now(p);
}

/// From its completion queues.
void vi_body::detach() noexcept {
    for (const abi::queue_kind k : {abi::send_queue, abi::receive_queue}) {
        cqs[k]->detach(entry->cq_bit[k].load_relaxed(), reinterpret_cast<queue_tag>(this) | k);
    }
}

result<void> vi_body::close(tables::patience p) {
    if (!open) {
        return std::unexpected(nic->fail(errc::invalid_handle, "closing a VI"));
    }
    if (nic->forked()) {
        open = false;
        detach();
        return {};
    }
    {
        const std::lock_guard hold(connect_mutex);  // nobody connects it in between
        if (auto r = disconnect_now(p); !r) {
            return r;
        }
        if (auto r = end_life(p); !r) {
            return r;
        }
    }
    open = false;
    detach();
    count_unreported();
    const std::lock_guard hold(nic->mutex);
    std::erase(nic->vis, this);
    give_back(*nic, index, entry->receive_ring.load_relaxed(), attributes);
    return {};
}

void vi_body::let_go() noexcept {
    if (!open) {
        return;
    }
    const os::cancellation_off inside;
    const auto closed = [&] {
        try {
            return close(tables::farewell).has_value();
        } catch (const std::bad_alloc&) {
            return !open;  // there was no memory for the words of why it failed
        }
    };
    if (!closed()) {
        // A stopped peer is inside our rings: they stay until this process leaves the device.
        const std::lock_guard hold(nic->mutex);
        std::erase(nic->vis, this);
        nic->unclosed.push_back({index, entry->peer.load_relaxed(), domain->id});  // create_vi has made room
        detach();
    }
}

}  // namespace detail

virtual_interface::~virtual_interface() = default;

virtual_interface& virtual_interface::operator=(virtual_interface&& o) noexcept {
    std::shared_ptr<detail::vi_body> old = std::move(body_);
    body_ = std::move(o.body_);
    return *this;
}

result<void> virtual_interface::disconnect() try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "disconnecting a VI"});
    }
    return body_->disconnect();
} catch (const std::exception& e) {
    return detail::caught(e, "disconnecting a VI");
}

result<void> virtual_interface::close() try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "closing a VI"});
    }
    if (auto r = body_->close(); !r) {
        return r;
    }
    body_.reset();
    return {};
} catch (const std::exception& e) {
    return detail::caught(e, "closing a VI");
}

}  // namespace vinic
