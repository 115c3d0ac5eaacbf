// SPDX-License-Identifier: Apache-2.0
//
// isolation_comings.cc -- attacks that come and go: what they leave behind is the device's to clear away.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <utility>

#include "bench/isolation_floods.hpp"

namespace vinic::bench {

namespace {

/// A connection of the administration.
class administrator {
public:
    explicit administrator(const std::string& path) : socket_(connect_socket(path)) {}
    ~administrator() { ::close(socket_); }
    administrator(const administrator&) = delete;
    administrator& operator=(const administrator&) = delete;
    void ask(const std::string& command, std::uint32_t function, const std::string& more) const {
        const std::string text = R"({"command":")" + command + R"(","function":"vf)" + std::to_string(function - 1) +
                                 "\"" + more + "}";  // "vfN" is function N + 1
        std::array<char, 65536> reply;
        if (::send(socket_, text.data(), text.size(), MSG_NOSIGNAL) < 0 ||
            ::recv(socket_, reply.data(), reply.size(), 0) <= 0) {
            broken("vinicd does not answer");
        }
    }

private:
    int socket_;
};

/// A17: hangs up with a descriptor posted, not rung, and not to be sent, for the function's bus master is off.
class unsaid : public attack {
public:
    explicit unsaid(const place& p) : place_(p), administrator_(p.path) { set_bus_master(0); }
    ~unsaid() override { set_bus_master(4); }
    bool step() override {
        tenant own(place_.path, place_.function, 8);
        raw_vi& a = own.make_vi({.depth = 16});
        raw_vi& b = own.make_vi({.depth = 16});
        a.connect(b);
        a.put(one_segment(opcode::write, data_offset, 8, data_offset));
        operations_ += own.contexts();
        return true;
    }

private:
    void set_bus_master(int value) const {
        administrator_.ask("configure", place_.function,
                           R"(,"writes":[{"offset":4,"width":2,"value":)" + std::to_string(value) + "}]");
    }
    place place_;
    administrator administrator_;
};

/// A18: has the device make every page that it may, leaves, and keeps the window's descriptor.  While what it left is
/// being given back it may be refused, and comes again.
class hog : public attack {
public:
    explicit hog(const place& p) : place_(p) { kept_.fill(-1); }
    ~hog() override {
        for (const int fd : kept_) {
            ::close(fd);
        }
    }
    bool step() override {
        try {
            const bool any = fill();
            refusals_ = 0;
            return any;
        } catch (const std::runtime_error&) {
            own_.reset();
            if (++refusals_ == refusals_most) {
                throw;
            }
            return false;
        }
    }

private:
    bool fill() {
        if (!own_) {
            own_.emplace(place_.path, place_.function);
            own_->register_region(everything_key, data_offset, own_->bytes() - data_offset);
            a_ = &own_->make_vi({.depth = 64});
            a_->connect(own_->make_vi({.depth = 64}));
            next_ = data_offset + mib;
        }
        bool any = false;
        while (a_->link() == abi::link::connected && a_->has_room() && next_ + mib <= own_->bytes()) {
            a_->put(one_segment(opcode::write, data_offset, mib, next_));
            next_ += mib;
            ++operations_;
            any = true;
        }
        a_->ring();
        if (a_->link() != abi::link::connected || next_ + mib > own_->bytes()) {
            int& oldest = kept_[turns_++ % kept_.size()];
            ::close(std::exchange(oldest, ::dup(own_->window())));
            own_.reset();
        }
        return any;
    }

    static constexpr int refusals_most = 100'000;  ///< one after the other: nobody will let it in any more
    place place_;
    std::optional<tenant> own_;
    raw_vi* a_ = nullptr;
    int refusals_ = 0;
    std::uint64_t next_ = 0;
    std::array<int, 6> kept_;
    std::size_t turns_ = 0;
};

/// A19: a GiB of pages, and away.
class leaver : public attack {
public:
    explicit leaver(const place& p) : place_(p) {}
    bool step() override {
        if (!own_) {
            own_.emplace(place_.path, place_.function);
        }
        constexpr std::uint64_t piece = 64 * mib;
        (void)::fallocate(own_->window(), 0, static_cast<off_t>(data_offset + pieces_ * piece), piece);
        if (++pieces_ == 16) {
            own_.reset();
            pieces_ = 0;
            ++operations_;
        }
        return true;
    }

private:
    place place_;
    std::optional<tenant> own_;
    std::uint64_t pieces_ = 0;
};

/// A20: the function changes hands, each time with somebody in it.
class storm_of_owners : public attack {
public:
    explicit storm_of_owners(const place& p) : place_(p), administrator_(p.path) {}
    ~storm_of_owners() override { set_owner(static_cast<unsigned>(::geteuid())); }
    bool step() override {
        const tenant own(place_.path, place_.function);
        set_owner(61001 + static_cast<unsigned>(operations_++ % 2));
        return true;
    }

private:
    void set_owner(unsigned user) const {
        administrator_.ask("set", place_.function, R"(,"owner":)" + std::to_string(user));
    }
    place place_;
    administrator administrator_;
};

/// A21: all that a tenant can do of these, on two functions.  They are in each other's way; one that is cut off begins
/// anew.
class many_attacks : public attack {
public:
    explicit many_attacks(const place& p) {
        const place other{p.path, p.peer, p.function};
        makers_ = {[p] { return last_words(p); }, [other] { return memory_hog(other); },
                   [other] { return open_and_close(other); }};
        running_.resize(makers_.size());
    }
    bool step() override {
        const std::size_t turn = turns_++ % makers_.size();
        try {
            if (!running_[turn]) {
                running_[turn] = makers_[turn]();
            }
            (void)running_[turn]->step();
        } catch (const std::runtime_error&) {
            running_[turn].reset();
        }
        ++operations_;
        return turn != 0;
    }

private:
    std::vector<std::function<made()>> makers_;
    std::vector<made> running_;
    std::size_t turns_ = 0;
};

}  // namespace

made last_words(const place& p) { return std::make_unique<unsaid>(p); }
made memory_hog(const place& p) { return std::make_unique<hog>(p); }
made open_and_close(const place& p) { return std::make_unique<leaver>(p); }
made owner_storm(const place& p) { return std::make_unique<storm_of_owners>(p); }
made all_at_once(const place& p) { return std::make_unique<many_attacks>(p); }

}  // namespace vinic::bench
