// SPDX-License-Identifier: Apache-2.0
//
// region.cc -- registering memory, and taking it back while transfers run.
#include "native/region.hpp"

#include <algorithm>
#include <optional>

#include "placement/call.hpp"
#include "placement/vi.hpp"

namespace vinic {

namespace detail {

namespace {

/// Whether every engine that may have passed the check of a region of `domain` (the open one: any) has left: the
/// owner's own VIs in it, their peers, and senders of datagrams.
bool engines_have_left(nic_body& nic, const domain_body* domain) {
    tables::memory& m = *nic.memory;
    domain = domain->open() ? nullptr : domain;
    m.heavy_barrier();
    for (vi_body* v : nic.vis) {
        if (domain != nullptr && v->domain.get() != domain && !v->domain->open()) {
            continue;
        }
        const std::uint32_t peer = v->entry->peer.load_acquire();
        if (!tables::wait_engine_outside(m, *v->entry, tables::engine_patience_ns) ||
            (peer < abi::vi_count && !tables::wait_engine_outside(m, m.vi(peer), tables::engine_patience_ns))) {
            return false;
        }
        if (v->attributes.service == service::datagram) {
            // A sender inside holds the lock; once it was free, later senders see the stale key.
            const std::uint64_t end = os::now_ns() + tables::engine_patience_ns;
            for (std::uint32_t holder = 0; (holder = v->entry->receive_lock.load_acquire()) != 0;) {
                if (!m.alive(holder - 1)) {
                    break;
                }
                if (os::now_ns() > end) {
                    return false;
                }
                std::this_thread::yield();
            }
        }
    }
    for (const nic_body::unclosed_vi& u : nic.unclosed) {
        if ((domain == nullptr || u.domain == domain->id || (u.domain & abi::open_domain) != 0) &&
            (!tables::wait_engine_outside(m, m.vi(u.vi), tables::engine_patience_ns) ||
             (u.peer < abi::vi_count && !tables::wait_engine_outside(m, m.vi(u.peer), tables::engine_patience_ns)))) {
            return false;
        }
    }
    return true;
}

/// A region of which some part is foreign cannot keep the promise of atomics.
error no_atomics(const nic_body& nic, foreign_reason why, const char* doing) {
    return nic.fail(errc::not_supported,
                    std::string(doing) + ": atomics do not reach memory that is foreign, and " + describe(why));
}

bool wants_to_write(access rights) noexcept { return rights != access::none && rights != access::remote_read; }

/// What a registration or its end needs: the nic's own mutex, or all nics of the process where pages move.
class exclusion {
public:
    exclusion(nic_body& nic, bool pages_move) noexcept : nic_(nic) {
        if (pages_move) {
            all_.emplace();
        } else {
            nic_.mutex.lock();
        }
    }
    exclusion(const exclusion&) = delete;
    exclusion& operator=(const exclusion&) = delete;
    ~exclusion() {
        if (!all_) {
            nic_.mutex.unlock();
        }
    }

private:
    nic_body& nic_;
    std::optional<standstill> all_;
};

}  // namespace

result<void> region_body::close() {
    nic_body& nic = *domain->nic;
    if (nic.forked()) {
        open = false;
        return {};
    }
    if (!open) {
        return std::unexpected(nic.fail(errc::invalid_handle, "deregistering memory"));
    }
    const exclusion hold(nic, !extents.empty());
    nic.memory->region(index).key.store_release(0);
    if (!engines_have_left(nic, domain.get()) || nic.provider->region_closed(key) == errc::busy) {
        return std::unexpected(
            nic.fail(errc::busy, "deregistering memory: a stopped process is inside a transfer that uses it"));
    }
    if (const enum foreign_reason no = nic.pages.release(extents); no != foreign_reason::none) {
        return std::unexpected(nic.fail(
            errc::busy, std::string("deregistering memory: its pages cannot be given back, for ") + describe(no)));
    }
    if (const tables::control_lock lock(*nic.memory, tables::farewell);
        lock) {  // else its entry stays until this process leaves
        nic.memory->give(abi::regions, index);
    }
    open = false;
    return {};
}

/// Engines read domain and rights one after the other, so rights that both sides of a change do not
/// share are never there while an engine may pair them with the other side's domain.
result<void> region_body::set_attributes(const std::shared_ptr<domain_body>& to, access wanted) {
    nic_body& nic = *domain->nic;
    if (nic.forked() || !open) {
        return std::unexpected(nic.fail(nic.forked() ? errc::forked : errc::invalid_handle, "changing a region"));
    }
    if (!to || to->nic != domain->nic || (static_cast<std::uint32_t>(wanted) & ~15u) != 0) {
        return std::unexpected(
            nic.fail(errc::invalid_argument, "changing a region: unknown rights, or a domain of another nic"));
    }
    if (wants_to_write(wanted) && !writable) {
        return std::unexpected(
            nic.fail(errc::not_supported, "changing a region: it was registered for reading only; register it anew"));
    }
    if (has(wanted, access::remote_atomic) && foreign_reason != foreign_reason::none && !is_whole_space) {
        return std::unexpected(no_atomics(nic, foreign_reason, "changing a region"));
    }
    std::shared_ptr<domain_body> old;  // outlives the lock
    const std::lock_guard hold(nic.mutex);
    abi::region_entry& e = nic.memory->region(index);
    const auto shared = static_cast<std::uint32_t>(rights) & static_cast<std::uint32_t>(wanted);
    e.rights.store_relaxed(shared);
    bool left = engines_have_left(nic, domain.get());
    if (const errc refused = nic.provider->region_changed(key, to->id, wanted); refused != errc::ok) {
        e.rights.store_release(static_cast<std::uint32_t>(rights));
        return std::unexpected(nic.fail(refused, "changing a region"));
    }
    e.domain.store_release(to->id);
    left = engines_have_left(nic, domain.get()) && left;
    e.rights.store_release(static_cast<std::uint32_t>(wanted));
    old = std::exchange(domain, to);
    rights = wanted;
    if (!left) {
        return std::unexpected(
            nic.fail(errc::busy, "changing a region: a stopped process is inside a transfer that uses it"));
    }
    return {};
}

region_body::~region_body() {
    if (!open) {
        return;
    }
    const os::cancellation_off inside;
    const auto closed = [&] {
        try {
            return close().has_value();
        } catch (const std::bad_alloc&) {
            return !open;  // there was no memory for the words of why it failed
        }
    };
    if (!closed()) {
        // Adopted pages and buffers stay where the stopped engine expects them.
        const std::lock_guard hold(domain->nic->mutex);
        for (const auto& b : buffers) {
            if (b) {
                b->kept = true;
            }
        }
    }
}

namespace {

/// What a region holds that is not made after all: goes back, however that ends.
struct unfinished_region {
    nic_body& nic;
    adoption::cover& cover;
    bool made = false;
    unfinished_region(nic_body& n, adoption::cover& c) noexcept : nic(n), cover(c) {}
    unfinished_region(const unfinished_region&) = delete;
    unfinished_region& operator=(const unfinished_region&) = delete;
    ~unfinished_region() {
        if (!made) {
            nic.pages.abandon(cover);
        }
    }
};

result<std::uint32_t> take_entry(tables::memory& m) {
    const tables::control_lock lock(m);
    return lock ? m.take(abi::regions) : std::unexpected(m.fail_lock(errc::busy, "registering memory"));
}

result<std::shared_ptr<region_body>> make_region(const std::shared_ptr<domain_body>& domain, std::uint64_t address,
                                                 std::uint64_t length, access rights, bool whole_space, adopt wanted) {
    if (!domain) {
        return std::unexpected(error{errc::invalid_handle, 0, "registering memory"});
    }
    nic_body& nic = *domain->nic;
    if (nic.forked()) {
        return std::unexpected(nic.fail(errc::forked, "registering memory"));
    }
    if (length == 0 || (!whole_space && address + length < address) ||
        (static_cast<std::uint32_t>(rights) & ~15u) != 0) {
        return std::unexpected(nic.fail(errc::invalid_argument,
                                        "registering memory: empty range, range that wraps round, or unknown rights"));
    }
    auto made = std::make_shared<region_body>();
    made->open = false;
    made->domain = domain;
    made->rights = rights;
    made->writable = whole_space || wants_to_write(rights);
    adoption::cover cover;  // outlives the lock: buffers' destructors take it
    wanted = whole_space ? adopt::no : std::max(wanted, nic.adopts_always);
    const exclusion hold(nic, wanted != adopt::no);
    unfinished_region unfinished(nic, cover);
    tables::memory& m = *nic.memory;
    if (whole_space) {
        nic.pages.hold_all(cover);
    } else if (auto held = nic.pages.hold(address, length, wanted, cover); !held) {
        return std::unexpected(held.error());
    }
    if (has(rights, access::remote_atomic) && cover.reason != foreign_reason::none && !whole_space) {
        return std::unexpected(no_atomics(nic, cover.reason, "registering memory"));
    }
    auto i = take_entry(m);
    if (!i) {
        return std::unexpected(i.error());
    }
    abi::region_entry& e = m.region(*i);
    e.generation.store_relaxed(e.generation.load_relaxed() % 254 + 1);
    made->index = *i;
    made->key = *i << 8 | e.generation.load_relaxed();
    made->backing = cover.backing;
    made->foreign_reason = cover.reason;
    made->is_whole_space = whole_space;
    made->extents = std::move(cover.held);
    made->buffers = std::move(cover.buffers);
    made->open = true;
    e.address.store_relaxed(address);
    e.length.store_relaxed(length);
    e.offset.store_relaxed(cover.offset);
    e.domain.store_relaxed(domain->id);
    e.rights.store_relaxed(static_cast<std::uint32_t>(rights));
    e.backing.store_relaxed(static_cast<std::uint32_t>(made->backing));
    e.foreign_reason.store_relaxed(static_cast<std::uint32_t>(made->foreign_reason));
    e.key.store_release(made->key);
    if (const errc refused = nic.provider->region_made(e); refused != errc::ok) {
        e.key.store_release(0);
        made->open = false;
        cover.held = std::move(made->extents);
        cover.buffers = std::move(made->buffers);
        if (const tables::control_lock lock(m, tables::farewell); lock) {
            m.give(abi::regions, *i);
        }
        return std::unexpected(nic.fail(refused, "registering memory"));
    }
    unfinished.made = true;
    return made;
}

}  // namespace

}  // namespace detail

result<region> domain::register_memory(std::span<const std::byte> bytes, access rights, const registration& how) try {
    const os::cancellation_off inside;
    if (how.adopt > adopt::force) {
        return std::unexpected(error{errc::invalid_argument, 0, "registering memory: no such kind of adoption"});
    }
    auto made = detail::make_region(body_, reinterpret_cast<std::uint64_t>(bytes.data()), bytes.size(), rights, false,
                                    how.adopt);
    if (!made) {
        return std::unexpected(made.error());
    }
    region r;
    r.key_ = (*made)->key;
    r.address_ = reinterpret_cast<std::uint64_t>(bytes.data());
    r.length_ = bytes.size();
    r.body_ = std::move(*made);
    return r;
} catch (const std::exception& e) {
    return detail::caught(e, "registering memory");
}

result<region> domain::register_address_space(access rights) try {
    const os::cancellation_off inside;
    auto made = detail::make_region(body_, 0, abi::none64, rights, true, adopt::no);
    if (!made) {
        return std::unexpected(made.error());
    }
    region r;
    r.key_ = (*made)->key;
    r.address_ = 0;
    r.length_ = abi::none64;
    r.body_ = std::move(*made);
    return r;
} catch (const std::exception& e) {
    return detail::caught(e, "registering memory");
}

result<void> domain::close() try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "closing a protection domain"});
    }
    if (body_.use_count() > 1) {
        return std::unexpected(body_->nic->fail(errc::busy, "closing a protection domain that has regions or VIs"));
    }
    body_.reset();
    return {};
} catch (const std::exception& e) {
    return detail::caught(e, "closing a protection domain");
}

region::~region() = default;

region& region::operator=(region&& o) noexcept {
    std::swap(body_, o.body_);
    std::swap(key_, o.key_);
    std::swap(address_, o.address_);
    std::swap(length_, o.length_);
    if (&o != this) {
        o.body_.reset();
    }
    return *this;
}

result<void> region::set_attributes(const domain& to, vinic::access rights) try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "changing a region"});
    }
    return body_->set_attributes(to.body_, rights);
} catch (const std::exception& e) {
    return detail::caught(e, "changing a region");
}

backing region::backing() const noexcept { return body_ ? body_->backing : backing::foreign; }
foreign_reason region::foreign_reason() const noexcept { return body_ ? body_->foreign_reason : foreign_reason::none; }
access region::rights() const noexcept { return body_ ? body_->rights : access::none; }

result<void> region::close() try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "deregistering memory"});
    }
    if (auto r = body_->close(); !r) {
        return r;
    }
    body_.reset();
    return {};
} catch (const std::exception& e) {
    return detail::caught(e, "deregistering memory");
}

}  // namespace vinic
