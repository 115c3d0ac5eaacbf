// SPDX-License-Identifier: Apache-2.0
//
// memory.hpp -- the memory that the processes of a device share: its tables, who is in it, and its lock.
//
//   It is a device's file (direct/device_file.hpp) or a function's window of the isolated placement
//   (isolated/window.hpp); both have the same shape.
//
//     entry.cc           a process' place in it           tables.cc        entries of its tables
//     control_lock.cc    the control plane's lock         processes.cc     who is dead, and what is left of them
//
//   Byte 1 + i of it is locked for as long as process entry i is in use.  Locks vanish with their process, so SIGKILL
//   leaves nothing that a later opener would take for alive.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vinic/words.hpp>

#include "abi/vi.hpp"
#include "os/file.hpp"
#include "os/kept_fd.hpp"
#include "os/memory.hpp"
#include "os/sync.hpp"

namespace vinic::tables {

class memory {
public:
    /// An inspector maps read-only, takes no entry and makes nothing.
    enum class role { participant, inspector };

    memory(const memory&) = delete;
    memory& operator=(const memory&) = delete;
    virtual ~memory() = default;

    // -- what is different in a file and in a window ---------------------------------------------------
    /// Whether it may hold so many bytes more.  errc::out_of_memory: it may not.
    [[nodiscard]] virtual result<void> admits(std::uint64_t) const { return {}; }
    /// Whether nobody can open this device any more.
    [[nodiscard]] virtual bool removed() const noexcept { return false; }
    /// Whether the program has closed the descriptors by which this process is in.  Its place it keeps: its locks are
    /// the open file's, which lives as long as the mapping.
    [[nodiscard]] virtual bool lost() const noexcept { return fd_.get() < 0; }
    /// Whether anybody but the processes of this memory may still use what process i left.
    [[nodiscard]] virtual bool served(std::uint32_t) const noexcept { return false; }
    /// True once every engine that was inside memory when we looked has left what `owner` had.
    [[nodiscard]] virtual bool engines_have_left(std::uint32_t owner) noexcept = 0;
    /// What there is room in, for an error; `size` in words.
    [[nodiscard]] virtual std::string room(const std::string& size) const = 0;
    /// In a forked child: everything shared is replaced by zeros, so that no handle works.
    virtual void forget_after_fork() noexcept;

    // -- the tables ------------------------------------------------------------------------------------
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

    [[nodiscard]] bool forked() const noexcept { return forked_; }

    [[nodiscard]] error fail(errc code, int os_errno, std::string what) const;
    [[nodiscard]] error fail_os(int os_errno, std::string what) const;
    static constexpr const char* lost_words =
        ": the device's descriptor has been closed by somebody else in this process; open the device anew";
    /// Room that the file could not be given.
    [[nodiscard]] error fail_storage(int os_errno, std::string what) const;

protected:
    memory(std::string address, std::string path) noexcept
        : address_(std::move(address)), path_(std::move(path)), pid_namespace_(os::pid_namespace()) {}
    static constexpr std::uint64_t process_byte = 1;  ///< the first process entry's lock
    [[nodiscard]] bool is_in() const noexcept { return self_ != abi::none32 && !forked_; }
    [[nodiscard]] result<void> check_version() const;
    [[nodiscard]] result<void> back_process(std::uint32_t i);
    void take_entry(std::uint32_t i) noexcept;
    /// A second open file: through /proc, or by its name in a directory, if it has one.
    void open_again(int directory = -1, const char* name = nullptr) noexcept;

    std::string address_;
    std::string path_;
    os::kept_fd fd_;
    os::kept_fd mapping_fd_;
    os::mapping map_;
    bool fenced_ = false;

private:
    void recount() noexcept;
    std::uint32_t self_ = abi::none32;
    std::uint64_t pid_namespace_;
    std::atomic<std::uint32_t> last_holder_ = 0;  ///< owner word of the process for which the last wait brought nothing
    std::atomic<std::uint32_t> stuck_holder_ = 0;  ///< and of the one for which a long wait did
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

}  // namespace vinic::tables
