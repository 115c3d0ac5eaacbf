// SPDX-License-Identifier: Apache-2.0
//
// memory.hpp -- one device's file: its life, its tables and its lock.
//
//   Life of the file.  Byte 0 of the file is locked while somebody opens or leaves; byte 1 + i for as long as process
//   entry i is in use.  An opener that finds no process byte locked starts afresh; the last process that leaves removes
//   the file.  Locks vanish with their process, so SIGKILL leaves nothing that a later opener would take for alive.
//   Only a file that is believed is opened at all: belief.hpp.
//
//     memory.cc          what an address means, and what is said when it cannot be opened
//     attach.cc          the file's life                  entry.cc         the process' place in it
//     control_lock.cc    the control plane's lock         tables.cc        entries of its tables
//
//   Or a function's window of the isolated placement (abi/window.hpp), which has the same shape: window.cc.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <memory>
#include <string>
#include <vinic/words.hpp>

#include "abi/window.hpp"
#include "os/file.hpp"
#include "os/kept_fd.hpp"
#include "os/memory.hpp"
#include "os/sync.hpp"

namespace vinic::device {

/// What the device of the isolated placement gave a process.
struct attachment {
    os::kept_fd socket;    ///< its close tells the device that the process has left
    os::kept_fd doorbell;  ///< event descriptors
    os::kept_fd mailbox;
    std::uint32_t function = 0;
    std::uint32_t epoch = 0;          ///< of the function
    std::uint32_t context_epoch = 0;  ///< of this process' context
    std::uint64_t window_bytes = 0;
};

struct openers;

/// Where device files lie, as an absolute path.
[[nodiscard]] std::string directory_of(const open_options& options);

class memory {
public:
    enum class role { participant, inspector };

    /// Opens or makes the device.  An inspector maps read-only, takes no entry and makes nothing.
    [[nodiscard]] static result<std::unique_ptr<memory>> open(std::string_view device_address,
                                                              const open_options& options, role as);
    memory(const memory&) = delete;
    memory& operator=(const memory&) = delete;
    /// Leaves the device; the last one out removes the file.
    ~memory();

    [[nodiscard]] abi::device_header& header() const noexcept { return *at<abi::device_header>(0); }
    [[nodiscard]] abi::word32& chunk_owner(std::uint32_t i) const noexcept {
        return at<abi::word32>(abi::chunk_owners_offset)[i];
    }
    [[nodiscard]] abi::process_entry& process(std::uint32_t i) const noexcept {
        return at<abi::process_entry>(abi::processes_offset)[i];
    }
    [[nodiscard]] abi::domain_entry& domain(std::uint32_t i) const noexcept {
        return at<abi::domain_entry>(abi::domains_offset)[i];
    }
    [[nodiscard]] abi::region_entry& region(std::uint32_t i) const noexcept {
        return at<abi::region_entry>(abi::regions_offset)[i];
    }
    [[nodiscard]] abi::name_entry& name(std::uint32_t i) const noexcept {
        return at<abi::name_entry>(abi::names_offset)[i];
    }
    [[nodiscard]] abi::request_entry& request(std::uint32_t i) const noexcept {
        return at<abi::request_entry>(abi::requests_offset)[i];
    }
    [[nodiscard]] abi::cq_entry& cq(std::uint32_t i) const noexcept { return at<abi::cq_entry>(abi::cqs_offset)[i]; }
    [[nodiscard]] abi::vi_entry& vi(std::uint32_t i) const noexcept { return at<abi::vi_entry>(abi::vis_offset)[i]; }

    /// Offsets mean the same in every process; pointers do not.
    template <class T>
    [[nodiscard]] T* at(std::uint64_t offset) const noexcept {
        return reinterpret_cast<T*>(map_.data() + offset);
    }
    /// The length of the file, or of the window.
    [[nodiscard]] std::uint64_t bytes() const noexcept { return map_.size(); }
    /// Chunks of 64 MiB, the tables' included.
    [[nodiscard]] std::uint32_t chunks() const noexcept {
        return static_cast<std::uint32_t>(map_.size() / abi::chunk_size);
    }
    [[nodiscard]] std::uint32_t backed(abi::table t) const noexcept { return header().marks[t].backed.load_acquire(); }

    /// This process' entry, and the word that marks what belongs to it.
    [[nodiscard]] std::uint32_t self() const noexcept { return self_; }
    [[nodiscard]] std::uint32_t owner_word() const noexcept { return self_ + 1; }
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }
    /// For mappings that may outlive the nic: a mapping keeps its open file alive, and with it that
    /// file's locks; this one has none.  -1: it could not be opened, without /proc; nothing is adopted then.
    [[nodiscard]] int mapping_fd() const noexcept { return mapping_fd_.get(); }
    [[nodiscard]] bool fenced() const noexcept { return fenced_; }
    [[nodiscard]] const std::string& address() const noexcept { return address_; }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

    /// Isolated placement: what lies in a window only; nullptr for a device file.
    [[nodiscard]] attachment* window() const noexcept { return window_.get(); }
    /// Isolated placement: whether the function may hold so many bytes more.  errc::out_of_memory: it may not.
    [[nodiscard]] result<void> admits(std::uint64_t bytes) const;
    [[nodiscard]] abi::identity_page& identity() const noexcept {
        return *at<abi::identity_page>(abi::identity_offset);
    }
    /// Whether the device of a window no longer serves this process: it died, or was reset, or this process has lost
    /// what it reaches it by.
    [[nodiscard]] bool cut_off() const noexcept;
    /// Whether the program has closed the descriptors by which this process reaches the device.  Its place in a device
    /// file it keeps: its locks are the open file's, which lives as long as the mapping.
    [[nodiscard]] bool lost() const noexcept;
    /// Whether anybody but the processes of this memory may still use what process i left: the device.
    [[nodiscard]] bool served(std::uint32_t i) const noexcept {
        return window_ != nullptr && i < abi::context_count && identity().context_epoch[i].load_acquire() != 0;
    }

    /// Whether the file has lost its name: nobody can open this device any more.
    [[nodiscard]] bool removed() const noexcept;

    /// Whether process entry i is held by a living process.
    [[nodiscard]] bool alive(std::uint32_t i) const noexcept;
    /// A foreign address of process i can be reached by its pid: same pid namespace, which is known.
    [[nodiscard]] bool same_pid_namespace(std::uint32_t i) const noexcept {
        return pid_namespace_ != 0 && process(i).pid_namespace.load_relaxed() == pid_namespace_;
    }

    void heavy_barrier() const noexcept { os::heavy_barrier(fenced_); }
    void light_barrier() const noexcept { os::light_barrier(fenced_); }

    /// The control plane's lock: between processes, survives its holder's death.  False: its holder lives, and has not
    /// let it go by the deadline (os::now_ns); fail_lock says who it is.
    [[nodiscard]] bool lock_until(std::uint64_t deadline_ns) noexcept;
    [[nodiscard]] bool try_lock() noexcept;
    /// Takes the lock over if its holder is dead; does not wait.
    [[nodiscard]] bool lock_of_dead() noexcept;
    void unlock() noexcept;
    [[nodiscard]] error fail_lock(errc code, const std::string& doing) const;
    /// A deadline for the lock: after `patience_ns`, and almost at once while the last wait's holder still has it, so
    /// that a stopped neighbour costs that patience once and not with every call.
    [[nodiscard]] std::uint64_t lock_deadline(std::uint64_t patience_ns) const noexcept;

    /// A free entry of table t, owned by this process, storage assured.  Under the lock.
    [[nodiscard]] result<std::uint32_t> take(abi::table t);
    /// Gives entry i of table t back.  Under the lock.
    void give(abi::table t, std::uint32_t i) noexcept;
    [[nodiscard]] abi::word32& owner_of(abi::table t, std::uint32_t i) const noexcept;

    /// In a forked child: everything shared is replaced by zeros, so that no handle works.
    void forget_after_fork() noexcept;
    [[nodiscard]] bool forked() const noexcept { return forked_; }

    [[nodiscard]] error fail(errc code, int os_errno, std::string what) const;
    [[nodiscard]] error fail_os(int os_errno, std::string what) const;
    static constexpr const char* lost_words =
        ": the device's descriptor has been closed by somebody else in this process; open the device anew";
    /// Room that the file could not be given.
    [[nodiscard]] error fail_storage(int os_errno, std::string what) const;

private:
    struct place;  // opening.hpp
    memory() noexcept : pid_namespace_(os::pid_namespace()) {}
    static constexpr std::uint64_t process_byte = 1;  ///< the first process entry's lock
    // attach.cc
    [[nodiscard]] result<place> find_place() const;
    [[nodiscard]] error fail_open(int os_errno, const place& p) const;
    [[nodiscard]] error fail_opening(int os_errno) const;
    [[nodiscard]] error fail_no_device() const;
    [[nodiscard]] result<void> attach(const open_options& options);
    [[nodiscard]] result<bool> attach_once(const open_options& options, const openers& who, bool last);
    [[nodiscard]] result<bool> settle(const place& p, const open_options& options, const openers& who, bool last);
    [[nodiscard]] result<bool> clear_away(const struct stat& mine, std::string why, bool last);
    [[nodiscard]] result<void> join(const place& p, const openers& who);
    [[nodiscard]] result<void> make_anew(const place& p, const open_options& options, const openers& who);
    [[nodiscard]] result<void> initialise(const open_options& options);
    [[nodiscard]] result<void> map_span(std::uint64_t span, bool writable);
    [[nodiscard]] result<void> check_version() const;
    [[nodiscard]] result<void> enter();
    [[nodiscard]] result<void> back_process(std::uint32_t i);
    void settle_in(std::uint32_t i) noexcept;
    void open_again(const place* beside) noexcept;
    [[nodiscard]] result<void> inspect();
    void leave() noexcept;
    // window.cc
    [[nodiscard]] result<void> open_window(std::string_view where, role as);
    [[nodiscard]] result<void> map_window(std::uint32_t function, role as);
    [[nodiscard]] result<void> connect_socket();
    [[nodiscard]] error fail_answer(int os_errno, const std::string& doing) const;
    [[nodiscard]] result<os::unique_fd> attach_window(std::uint32_t function);
    [[nodiscard]] result<bool> enter_window();
    [[nodiscard]] result<bool> enter_context(std::uint32_t i);
    void leave_window() noexcept;
    void recount() noexcept;

    std::string address_;
    std::string path_;
    os::kept_fd fd_;
    os::kept_fd mapping_fd_;
    os::mapping map_;
    std::unique_ptr<attachment> window_;
    std::string window_user_;  ///< who may serve it, beside root and ourselves
    std::uint32_t self_ = abi::none32;
    std::uint64_t pid_namespace_;
    std::atomic<std::uint32_t> last_holder_ = 0;  ///< owner word of the process for which the last wait brought nothing
    std::atomic<std::uint32_t> stuck_holder_ = 0;  ///< and of the one for which a long wait did
    bool fenced_ = false;
    bool forked_ = false;
};

/// How long something is waited for that a process may hold which is stopped.
struct patience {
    std::uint64_t ns;
};
/// For the control plane's lock, in a call that was given no time-out of its own.
inline constexpr patience control_patience{10'000'000'000};
/// In what cannot fail, such as a destructor: what it would have freed is left for the process' burial then.
inline constexpr patience farewell{1'000'000'000};

/// Holds the control plane's lock; or not, and the caller has to look.
class control_lock {
public:
    explicit control_lock(memory& m, patience p = control_patience) noexcept : control_lock(m, m.lock_deadline(p.ns)) {}
    control_lock(memory& m, std::uint64_t deadline_ns) noexcept : memory_(m), held_(m.lock_until(deadline_ns)) {}
    control_lock(const control_lock&) = delete;
    control_lock& operator=(const control_lock&) = delete;
    ~control_lock() {
        if (held_) {
            memory_.unlock();
        }
    }
    [[nodiscard]] explicit operator bool() const noexcept { return held_; }

private:
    memory& memory_;
    bool held_;
};

}  // namespace vinic::device
