// SPDX-License-Identifier: Apache-2.0
//
// torture_support.hpp -- what those stand on that mistreat a vinicd: a vinicd, parties that exchange messages over it
// and never give up, and a client that is words and nothing else.
//
//     daemon        a vinicd of the test's own, killed, told to end, started anew, or handed a listening socket
//     board         what the parties write down, in memory that they share with the test
//     answerer      listens, accepts, sends back what it gets; opens anew when it must
//     asker         connects, sends, looks at what comes back; connects or opens anew when it must
//     wire_client   speaks the socket and maps the window without the library
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "abi/window.hpp"
#include "multi/fixture.hpp"
#include "os/file.hpp"

namespace torture {

using multi::steady;
using namespace std::chrono_literals;

/// VINIC_LONG=1 makes everything here much longer.
[[nodiscard]] bool is_long();
[[nodiscard]] std::uint64_t seed_of_this_run();

// -- vinicd -------------------------------------------------------------------------------------

class daemon {
public:
    enum class socket_is : std::uint8_t {
        its_own,
        handed_over,  ///< the test listens, as a service manager would, and keeps the socket when vinicd goes
    };
    explicit daemon(socket_is whose = socket_is::its_own, std::vector<std::string> arguments = {});
    daemon(const daemon&) = delete;
    daemon& operator=(const daemon&) = delete;
    ~daemon();

    void start();
    void kill();
    /// SIGTERM; its exit code.
    [[nodiscard]] int end();
    /// A second one beside the first, which begins to end; returns with the first one's exit code.
    [[nodiscard]] int replace();
    [[nodiscard]] bool runs() const;
    [[nodiscard]] std::string path() const { return directory_ + "/socket"; }
    [[nodiscard]] std::string address(const std::string& function) const { return "vinicd:" + path() + "#" + function; }
    [[nodiscard]] std::string log() const;

    /// What the administration answers to one JSON request.
    [[nodiscard]] std::string ask(const std::string& request) const;
    /// A number of one function, such as its contexts.
    [[nodiscard]] std::uint64_t number(const std::string& function, const std::string& key) const;
    [[nodiscard]] bool reset(const std::string& function) const;

private:
    void wait_until_up() const;
    [[nodiscard]] int exit_code_of(pid_t pid) const;

    std::string directory_;
    std::vector<std::string> arguments_;
    vinic::os::unique_fd listening_;
    pid_t maker_;
    pid_t pid_ = 0;
};

// -- parties ------------------------------------------------------------------------------------

inline constexpr std::uint32_t parties_max = 16;

struct party_page {
    std::atomic<std::uint64_t> exchanges;  ///< messages that came and were right
    std::atomic<std::uint64_t> opened;     ///< nics
    std::atomic<std::uint64_t> losses;     ///< connections that broke
};

struct board {
    std::atomic<bool> over;
    std::atomic<bool> errors_forbidden;  ///< of those parties that nobody has touched
    std::atomic<std::uint32_t> failures;
    char failure[512];
    std::array<party_page, parties_max> party;

    void fail(const char* format, ...) __attribute__((format(printf, 2, 3)));
};

/// Shared with children that are forked later.
class shared_board {
public:
    shared_board();
    shared_board(const shared_board&) = delete;
    shared_board& operator=(const shared_board&) = delete;
    ~shared_board();
    board* operator->() const noexcept { return board_; }
    board& operator*() const noexcept { return *board_; }
    /// Whether each of the first `parties` comes `by` exchanges further, or has failed.
    [[nodiscard]] bool advances(std::uint32_t parties, std::uint64_t by) const;

private:
    board* board_;
};

struct party_options {
    std::string address;
    std::string name;  ///< where the answerer listens
    std::uint32_t number = 0;
    bool may_miss_the_socket = true;  ///< a device that is not there is no failure: it is waited for
    bool must_not_break = false;      ///< a victim: any error at all is a failure
    bool opens_once_in_a_while = false;
};

/// Of a device that is there; a victim of others must not notice.
[[nodiscard]] party_options party(const daemon& d, const std::string& function, const std::string& name, bool victim);

/// Until board::over; what is wrong is written on the board.
void be_answerer(board& b, const party_options& o);
void be_asker(board& b, const party_options& o);

/// Askers and answerers as processes, `pairs` of them: pair i is parties 2i and 2i + 1.
class crowd {
public:
    crowd(shared_board& b, std::vector<party_options> askers, std::vector<party_options> answerers);
    /// Ends all of them; a failure if one does not end well.
    void end();
    /// Kills a party and seats a new one.
    void replace(std::size_t i);
    [[nodiscard]] std::size_t size() const noexcept { return who_.size(); }
    [[nodiscard]] multi::process& operator[](std::size_t i) { return *who_[i]; }

private:
    void seat(std::size_t i);
    board& board_;
    std::vector<party_options> options_;
    std::size_t askers_;
    std::vector<std::unique_ptr<multi::process>> who_;
};

// -- words --------------------------------------------------------------------------------------

class wire_client {
public:
    wire_client(const daemon& d, std::uint32_t function, std::uint32_t context);
    wire_client(const wire_client&) = delete;
    wire_client& operator=(const wire_client&) = delete;
    ~wire_client();

    template <class T>
    [[nodiscard]] T* at(std::uint64_t offset) const {
        return reinterpret_cast<T*>(base_ + offset);
    }
    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
    [[nodiscard]] int window() const noexcept { return window_.get(); }
    [[nodiscard]] std::uint32_t context() const noexcept { return context_; }
    [[nodiscard]] vinic::abi::mailbox& mailbox() const {
        return *at<vinic::abi::mailbox>(vinic::abi::mailbox_offset(context_));
    }
    void kick() const;
    /// Puts a request under this sequence; whether the device answers it within the time.
    bool call(std::uint32_t sequence, vinic::abi::verb verb, std::array<std::uint64_t, 6> v,
              std::chrono::milliseconds time = 10s);

private:
    /// What the device says: 0 or an errc.
    [[nodiscard]] std::uint32_t attach(const daemon& d, std::uint32_t function);
    [[nodiscard]] std::uint32_t enter() const;

    vinic::os::unique_fd socket_;
    vinic::os::unique_fd window_;
    vinic::os::unique_fd doorbell_;
    vinic::os::unique_fd mailbox_;
    std::uint32_t context_;
    std::uint64_t bytes_ = 0;
    std::byte* base_ = nullptr;
};

}  // namespace torture
