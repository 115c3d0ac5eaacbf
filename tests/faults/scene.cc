// SPDX-License-Identifier: Apache-2.0
//
// scene.cc -- one play of a scenario in a child, what it demands, and what it may leave behind.
#include "faults/scene.hpp"

#include <dirent.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <sstream>

#include "faults/peer.hpp"
#include "faults/season.hpp"

namespace faults {

using multi::must;
using namespace std::chrono_literals;

using multi::require;

// -- what a body demands ------------------------------------------------------------------------

namespace {

std::string told(std::string_view what, const vinic::error& e) {
    return std::string(what) + ": " + vinic::name(e.code) + ": " + e.message();
}

}  // namespace

vinic::result<vinic::nic> scene::open_once(std::string_view address) const {
    return where_.is_isolated() ? vinic::nic::open("vinicd:" + where_.socket())
                                : vinic::nic::open(address, where_.options());
}

void scene::demand(bool condition, std::string_view what, std::source_location from) const {
    const paused by_no_fault;
    require(condition, what, from);
}

void scene::is_excused(std::string_view what, const vinic::error& e) {
    const paused by_no_fault;
    require(disturbed(), "there is a reason for " + told(what, e));
    require(e.code != vinic::errc::ok && !e.message().empty(), "an error says something: " + told(what, e));
    require(e.os_errno == 0 || e.os_errno == seen_.error.load() || (makes_threads_ && e.os_errno == EAGAIN),
            "the errno of the error is the one of the call: " + told(what, e));
    relieve();
}

void scene::still_fails(std::string_view what, const vinic::error& e) {
    const paused by_no_fault;
    throw std::runtime_error("after the fault is over, " + told(what, e));
}

bool scene::succeeded(bool it_did, std::string_view what) {
    demand(it_did || disturbed(), "there is a reason that it does not succeed: " + std::string(what));
    if (!it_did) {
        relieve();
    }
    return it_did;
}

bool scene::succeeded(vinic::status how, std::string_view what) {
    return succeeded(how == vinic::status::success, std::string(what) + " ends with " + vinic::name(how));
}

bool scene::succeeded(vinic::errc how, std::string_view what) {
    return succeeded(how == vinic::errc::ok, std::string(what) + " ends with " + vinic::name(how));
}

// -- one play -----------------------------------------------------------------------------------

namespace {

/// What a process holds: descriptors, and mappings by what is behind them.
struct holdings {
    std::multiset<std::string> all;

    static holdings now(bool anonymous_too) {
        holdings h;
        DIR* fds = ::opendir("/proc/self/fd");
        require(fds != nullptr, "descriptors can be listed");
        std::array<char, 512> target{};
        while (const dirent* e = ::readdir(fds)) {
            if (e->d_name[0] != '.' && std::atoi(e->d_name) != ::dirfd(fds)) {
                const std::string link = std::string("/proc/self/fd/") + e->d_name;
                const ssize_t n = ::readlink(link.c_str(), target.data(), target.size());
                h.all.insert("descriptor of " + std::string(target.data(), n > 0 ? static_cast<std::size_t>(n) : 0));
            }
        }
        ::closedir(fds);
        std::ifstream maps("/proc/self/maps");
        for (std::string line; std::getline(maps, line);) {
            std::istringstream words(line);
            std::string range, mode, offset, device, inode, path;
            words >> range >> mode >> offset >> device >> inode >> path;
            if (path.empty() ? anonymous_too : path[0] != '[') {
                h.all.insert("mapping of " + (path.empty() ? "nothing, " + mode : path));
            }
        }
        return h;
    }
    /// What is held now and was not before.
    [[nodiscard]] std::string beyond(const holdings& before, const std::vector<std::string>& kept) const {
        std::string more;
        std::multiset<std::string> rest = all;
        for (const std::string& each : before.all) {
            if (const auto found = rest.find(each); found != rest.end()) {
                rest.erase(found);
            }
        }
        for (const std::string& each : kept) {
            if (const auto found = std::ranges::find_if(rest, [&](const auto& r) { return r.ends_with(each); });
                found != rest.end()) {
                rest.erase(found);
            }
        }
        for (const std::string& each : rest) {
            more += "\n  " + each;
        }
        return more;
    }
};

void play(const std::function<void(scene&)>& body, scene& s, const plan& p, record& seen, const options& o) {
    const holdings before = holdings::now(!o.makes_threads);
    begin(p, seen);
    join();
    try {
        body(s);
    } catch (...) {
        leave();
        throw;
    }
    leave();
    const std::string more = holdings::now(!o.makes_threads).beyond(before, o.keeps);
    const bool excused = seen.unmapped.load() != 0 || (o.may_stay && seen.injected.load() != 0);
    require(more.empty() || excused, "nothing is held afterwards that was not before:" + more);
}

/// The C library takes its memory from one heap, so that its mappings are not taken for the library's.
void keep_memory_in_the_heap() {
    ::mallopt(M_MMAP_MAX, 0);
    ::mallopt(M_ARENA_MAX, 1);
    ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
    ::mallopt(M_TOP_PAD, 64 << 20);
    std::free(std::malloc(1 << 20));
}

// -- all plays ----------------------------------------------------------------------------------

/// A record that children share.
class shared_record {
public:
    shared_record()
        : record_(::mmap(nullptr, sizeof(record), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
        require(record_ != MAP_FAILED, "memory can be shared");
    }
    shared_record(const shared_record&) = delete;
    shared_record& operator=(const shared_record&) = delete;
    ~shared_record() { ::munmap(record_, sizeof(record)); }
    [[nodiscard]] record& operator*() const noexcept { return *static_cast<record*>(record_); }
    [[nodiscard]] record* operator->() const noexcept { return static_cast<record*>(record_); }
    void clear() const noexcept {
        record& r = **this;
        r.count = r.injected = r.over = r.unmapped = 0;
    }

private:
    void* record_;
};

class theatre {
public:
    theatre(const std::function<void(scene&)>& body, const options& o) : body_(body), o_(o) {
        if (!o.alone) {
            peer_.emplace([this](multi::channel& words) { be_peer(where_, words); });
            peer_->hear("ready");
            before_ = multi::count(where_);
        }
    }
    /// Plays once; what is wrong, or nothing.
    [[nodiscard]] std::string play_once(const plan& p) {
        seen_.clear();
        try {
            if (o_.before) {
                multi::process victim([this](multi::channel& parent) { o_.before(where_, parent); });
                (void)victim.hear();
                victim.kill_now();
            }
            multi::process player([&](multi::channel& words) {
                keep_memory_in_the_heap();
                scene s(where_, *seen_, &words, o_.makes_threads);
                play(body_, s, p, *seen_, o_);
            });
            if (const int code = player.exit_code(); code != 0) {
                return "the process ended with " + std::to_string(code);
            }
            return what_is_left();
        } catch (const std::exception& e) {
            return e.what();
        }
    }
    [[nodiscard]] const record& seen() const noexcept { return *seen_; }
    void end() {
        if (peer_) {
            peer_->say("end");
            EXPECT_EQ(peer_->exit_code(), 0);
        }
    }

private:
    std::string what_is_left() {
        if (is_as_before()) {
            return "";
        }
        if (seen_->injected.load() != 0) {
            // What a fault has kept a process from giving back, the next one that comes gives back.
            multi::process next([this](multi::channel&) { (void)where_.open(); });
            if (next.exit_code() == 0 && is_as_before()) {
                return "";
            }
        }
        if (o_.alone) {
            return "the device file is left";
        }
        std::ostringstream out;
        out << "the device holds " << now_ << "\ninstead of " << before_;
        return out.str();
    }
    bool is_as_before() {
        if (o_.alone) {
            return where_.is_isolated() || !where_.exists();
        }
        return multi::comes_true(
            [&] {
                now_ = multi::count(where_);
                return now_.same_entries(before_) && now_.miscounted == 0 && now_.lock == 0;
            },
            where_.is_isolated() ? 1s : 50ms);
    }

    const std::function<void(scene&)>& body_;
    options o_;
    multi::directory where_;
    shared_record seen_;
    std::optional<multi::process> peer_;
    multi::census before_;
    multi::census now_;
};

}  // namespace

void with_every_fault(const std::function<void(scene&)>& body, const options& o) {
    if (!available()) {
        GTEST_SKIP() << "the kernel does not hand system calls over (PR_SET_SYSCALL_USER_DISPATCH)";
    }
    theatre t(body, o);
    play_all([&](const plan& p) { return t.play_once(p); }, t.seen(), o.sample);
    t.end();
}

}  // namespace faults
