// SPDX-License-Identifier: Apache-2.0
//
// nic.cc -- opening a device, its memory, and the housekeeping of one open nic.
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "native/cq.hpp"
#include "native/open.hpp"
#include "native/region.hpp"
#include "os/file.hpp"
#include "placement/call.hpp"
#include "tables/processes.hpp"

namespace vinic {

namespace detail {

namespace {

constexpr std::uint64_t tick_interval_us = 1000;
constexpr std::uint64_t bell_sleep_ns = 20'000'000;

void before_fork() {
    const os::cancellation_off inside;
    open_nics& all = registry();
    all.mutex.lock();
    for (nic_body* n : all.nics) {
        n->mutex.lock();
        n->pages.before_fork();
    }
    for (open_nics::kept& k : all.left) {
        k.pages->pages.before_fork();
    }
}

void after_fork_in_parent() {
    const os::cancellation_off inside;
    open_nics& all = registry();
    for (nic_body* n : all.nics) {
        n->pages.after_fork_in_parent();
        n->mutex.unlock();
    }
    for (open_nics::kept& k : all.left) {
        k.pages->pages.after_fork_in_parent();
    }
    all.mutex.unlock();
}

void after_fork_in_child() {
    const os::cancellation_off inside;
    open_nics& all = registry();
    all.view.close();  // they look at the parent
    all.mover.close();
    for (nic_body* n : all.nics) {
        n->pages.after_fork_in_child();
        n->memory->forget_after_fork();
        n->mutex.unlock();
    }
    for (open_nics::kept& k : all.left) {
        k.pages->pages.after_fork_in_child();
        k.memory->forget_after_fork();
    }
    all.nics.clear();
    all.left.clear();
    all.mutex.unlock();
}

}  // namespace

nic_body::nic_body(std::unique_ptr<tables::memory> m, std::unique_ptr<detail::provider> p)
    : memory(std::move(m)),
      provider(std::move(p)),
      held(std::make_unique<holdings>(*memory)),
      arena(held->arena),
      pages(held->pages) {}

nic_body::~nic_body() {
    const os::cancellation_off inside;
    if (bell.joinable()) {
        if (forked()) {
            bell.detach();  // the thread exists in the parent only
        } else {
            closing.store(true);
            memory->process(memory->self()).bell.fetch_add(1);
            os::futex_wake(&memory->process(memory->self()).bell.raw_);
            bell.join();
        }
    }
    bool all_back = true;
    if (!forked()) {
        const standstill while_pages_move;
        all_back = pages.release_all();
    }
    // From here to the end no fork: a child must not inherit the device's descriptor and its locks.
    const std::lock_guard no_fork(registry().mutex);
    std::erase(registry().nics, this);
    provider.reset();
    if (!all_back) {
        registry().left.push_back({std::move(memory), std::move(held)});
    }
    memory.reset();
}

void nic_body::tick_now() noexcept {
    next_tick.store(os::ticks() + tick_interval_us * os::ticks_per_us(), std::memory_order_relaxed);
    if (forked()) {
        return;
    }
    const os::cancellation_off inside;
    const std::uint64_t now = os::now_ns();
    provider->look_after(*this, now);
    tables::look_for_dead(*memory, now);
}

int nic_body::start_bell() noexcept {
    try {
        if (!bell.joinable()) {
            bell = std::thread([this] { ring_loop(); });
        }
        return 0;
    } catch (const std::system_error& e) {
        return e.code().value();
    } catch (const std::bad_alloc&) {
        return ENOMEM;
    }
}

/// Turns wake-ups of armed completion queues into readable descriptors.
void nic_body::ring_loop() noexcept {
    abi::word32& word = memory->process(memory->self()).bell;
    while (!closing.load()) {
        const std::uint32_t seen = word.load_acquire();
        {
            const std::lock_guard hold(mutex);
            for (cq_body* cq : fd_queues) {
                if (cq->fd_armed && cq->entry->armed.load_acquire() == 0) {
                    cq->fd_armed = false;
                    os::write_event(cq->event.get());
                }
            }
        }
        os::futex_wait(&word.raw_, seen, bell_sleep_ns);
        tick_now();
    }
}

domain_body::~domain_body() {
    if (!nic || nic->forked() || open()) {
        return;
    }
    const os::cancellation_off inside;
    nic->memory->domain(index).id.store_release(0);
    if (const tables::control_lock hold(*nic->memory, tables::farewell); hold) {
        nic->memory->give(abi::domains, index);
    }
}

buffer_body::~buffer_body() {
    if (kept || nic->forked()) {
        return;  // a stopped peer's engine is inside: the pages stay until this process leaves; or it never had any
    }
    const os::cancellation_off inside;
    const std::lock_guard hold(nic->mutex);
    nic->pages.remove_native(reinterpret_cast<std::uint64_t>(nic->memory->at<std::byte>(offset)));
    nic->arena.give_pages(offset, bytes);
}

}  // namespace detail

result<nic> nic::open(std::string_view device_address, const open_options& options) try {
    const os::cancellation_off inside;
    static const int handlers =
        ::pthread_atfork(detail::before_fork, detail::after_fork_in_parent, detail::after_fork_in_child);
    (void)handlers;
    (void)os::ticks_per_us();  // measured here, not in the first wait
    nic n;                     // outlives the lock: to leave the device takes it
    const std::lock_guard no_fork(detail::registry().mutex);
    detail::open_nics& all = detail::registry();
    detail::make_room(all.nics, all.nics.size() + 1);
    detail::make_room(all.left, all.left.size() + all.nics.size() + 1);  // the pages of each may have to be left
    auto opened = detail::open_device(device_address, options);
    if (!opened) {
        return std::unexpected(opened.error());
    }
    n.body_ = std::make_shared<detail::nic_body>(std::move(opened->memory), std::move(opened->provider));
    if (const char* asks = ::secure_getenv("VINIC_ADOPT"); asks != nullptr && std::string_view(asks) == "1") {
        n.body_->adopts_always = adopt::safe;
    }
    all.nics.push_back(n.body_.get());
    return n;
} catch (const std::exception& e) {
    return detail::caught(e, "opening a device");
}

result<domain> nic::create_domain() try {
    const os::cancellation_off inside;
    if (const auto why = detail::unusable(body_, "creating a protection domain")) {
        return std::unexpected(*why);
    }
    tables::memory& m = *body_->memory;
    auto made = std::make_shared<detail::domain_body>();
    {
        const tables::control_lock hold(m);
        if (!hold) {
            return std::unexpected(m.fail_lock(errc::busy, "creating a protection domain"));
        }
        auto i = m.take(abi::domains);
        if (!i) {
            return std::unexpected(i.error());
        }
        abi::domain_entry& e = m.domain(*i);
        e.generation.store_relaxed(e.generation.load_relaxed() % 0x7fff + 1);
        made->index = *i;
        made->id = *i | e.generation.load_relaxed() << 16;
        e.id.store_release(made->id);
    }
    made->nic = body_;
    domain d;
    d.body_ = std::move(made);
    return d;
} catch (const std::exception& e) {
    return detail::caught(e, "creating a protection domain");
}

result<domain> nic::create_open_domain() try {
    const os::cancellation_off inside;
    if (const auto why = detail::unusable(body_, "creating an open protection domain")) {
        return std::unexpected(*why);
    }
    domain d;
    d.body_ = std::make_shared<detail::domain_body>();
    d.body_->id = body_->memory->owner_word() | abi::open_domain;
    d.body_->nic = body_;
    return d;
} catch (const std::exception& e) {
    return detail::caught(e, "creating an open protection domain");
}

result<buffer> nic::allocate(std::size_t bytes) try {
    const os::cancellation_off inside;
    if (const auto why = detail::unusable(body_, "allocating device memory")) {
        return std::unexpected(*why);
    }
    if (bytes == 0 || bytes > abi::file_size) {
        return std::unexpected(body_->fail(errc::invalid_argument, "allocating " + std::to_string(bytes) + " bytes"));
    }
    const std::uint64_t size = abi::align_up(bytes, abi::page_size);
    const auto made = std::make_shared<detail::buffer_body>(body_, 0, size);  // outlives the lock: to end takes it
    made->kept = true;
    const std::lock_guard hold(body_->mutex);
    auto offset = body_->arena.take_pages(size);
    if (!offset) {
        return std::unexpected(offset.error());
    }
    auto* data = body_->memory->at<std::byte>(*offset);
    made->offset = *offset;
    made->kept = false;  // from here on it gives back what there is
    body_->pages.add_native(reinterpret_cast<std::uint64_t>(data), size, *offset, made);
    buffer b;
    b.body_ = made;
    b.data_ = data;
    b.size_ = size;
    return b;
} catch (const std::exception& e) {
    return detail::caught(e, "allocating device memory");
}

result<datagram_address> nic::resolve(const address& name) try {
    const os::cancellation_off inside;
    if (const auto why = detail::unusable(body_, "resolving a name")) {
        return std::unexpected(*why);
    }
    return body_->provider->resolve(*body_, name);
} catch (const std::exception& e) {
    return detail::caught(e, "resolving a name");
}

result<std::vector<address>> nic::names() try {
    const os::cancellation_off inside;
    if (const auto why = detail::unusable(body_, "listing names")) {
        return std::unexpected(*why);
    }
    return body_->provider->names(*body_);
} catch (const std::exception& e) {
    return detail::caught(e, "listing names");
}

bool nic::reaches_foreign_memory() const noexcept {
    return body_ != nullptr && body_->provider->reaches_foreign_memory();
}

const std::string& nic::device_address() const noexcept {
    static const std::string none;
    return body_ ? body_->memory->address() : none;
}

}  // namespace vinic
