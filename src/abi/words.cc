// SPDX-License-Identifier: Apache-2.0
//
// words.cc -- every code of the interface in words, each table proved complete.
#include <array>
#include <cstring>
#include <vinic/words.hpp>

namespace vinic {

namespace {

struct words {
    const char* name;
    const char* sentence;
};

constexpr auto errc_words = std::to_array<words>({
    {"ok", "success"},
    {"invalid_argument", "a parameter is outside what the call accepts; see its documentation"},
    {"invalid_handle", "the handle is empty, was moved from, or its object is closed; create it first"},
    {"unknown_address",
     "no such device; write shm:NAME with 1 to 63 of the characters A-Z a-z 0-9 . _ - (see `vinic device show`), or "
     "vinicd:PATH#vfN with the socket of a running vinicd"},
    {"permission_denied",
     "access is refused; use a device of your own (another name, or VINIC_SHM_DIR=$XDG_RUNTIME_DIR) or one of a group "
     "that you ask for (open_options::group), see `vinic device show`; a function of vinicd is for the users it was "
     "given "
     "to"},
    {"version_mismatch",
     "the name is taken by something that is no device of this version of vinic; end its users or choose another name"},
    {"out_of_memory", "no space is left; free some, enlarge /dev/shm, or point VINIC_SHM_DIR to a larger file system"},
    {"limit_reached", "a table of the device is full; close objects that are no longer needed"},
    {"invalid_state", "the VI is in a state in which this call makes no sense; see virtual_interface::state()"},
    {"busy",
     "it is in use; close what depends on it, or try again when its transfers, or whoever holds it, have come to an "
     "end"},
    {"no_listener",
     "nobody listens at that address; start the server first or check the name with `vinic name show DEVICE`"},
    {"timed_out", "the time given to the call is over; try again or give it more"},
    {"rejected", "the other side refused the connection"},
    {"attribute_mismatch", "reliability, service and transfer_bytes_max of the two VIs must be equal; change one side"},
    {"queue_full", "the queue holds as many descriptors as it is deep; poll completions first or make it deeper"},
    {"too_many_segments", "more segments than vi_attributes::segments_max; raise it or use fewer"},
    {"message_too_large",
     "more bytes than vi_attributes::transfer_bytes_max or inline_bytes_max; raise it or send less"},
    {"not_supported", "this kind of VI or this machine does not offer the operation"},
    {"peer_gone",
     "the other side has disconnected or died; disconnect and connect again, or reopen the device if it was vinicd"},
    {"forked", "the handle belongs to the parent process; open the device anew in the child"},
    {"not_done", "the operation is still in progress; ask again later"},
    {"os_failure", "a system call failed; see the system's word for it and `vinic doctor`"},
    {"name_in_use", "somebody listens at that address already; choose another name or discriminator"},
    {"concurrent_use", "two threads use one queue at the same time; set thread_safe or use one thread per queue"},
    {"device_removed",
     "the device's file was removed while it was open, so that nobody can find it any more: close the nic and open the "
     "device anew, and keep cleaners off (RemoveIPC= of systemd-logind at logout, cleaners of temporary directories)"},
});
static_assert(errc_words.size() == static_cast<std::size_t>(errc::device_removed) + 1);

constexpr auto status_names = std::to_array<const char*>(
    {"success", "local_protection", "local_length", "remote_protection", "remote_length", "remote_descriptor",
     "receiver_not_ready", "bad_alignment", "unreachable_memory", "flushed", "connection_lost"});
static_assert(status_names.size() == status_count &&
              status_count == static_cast<std::size_t>(status::connection_lost) + 1);

constexpr auto opcode_names =
    std::to_array<const char*>({"send", "write", "read", "fetch_add", "compare_swap", "receive", "receive_write"});
static_assert(opcode_names.size() == static_cast<std::size_t>(opcode::receive_write) + 1);

constexpr auto backing_names = std::to_array<const char*>({"native", "adopted", "foreign", "mixed"});
static_assert(backing_names.size() == static_cast<std::size_t>(backing::mixed) + 1);

struct reason_word {
    const char* name;
    const char* sentence;
};
constexpr auto reason_words = std::to_array<reason_word>({
    {"none", "no part of the memory is foreign"},
    {"not_asked", "its adoption was not asked for; allocate it from the device, or register it with adopt::safe"},
    {"shares_pages", "a part of it shares its pages with other memory; let it begin and end at a page"},
    {"not_private", "not all of it is private anonymous memory that can be read and written but not executed"},
    {"has_properties", "it is locked, or has advice, a policy or a protection key, which moving its pages would lose"},
    {"holds_thread", "the stack or control block of a thread is in it"},
    {"may_be_pinned",
     "the process has something open that may hold on to its pages (io_uring, AF_XDP, a device); close that first"},
    {"overlapped", "another open region overlaps it; close that first, or register the larger one first"},
    {"out_of_room", "the device has no room for its pages"},
    {"too_many", "as many ranges are adopted as may be; register fewer and larger ones"},
    {"cannot_look", "what lies there cannot be looked at: /proc is not there, or no descriptor is free"},
    {"cannot_hold",
     "threads that write to it cannot be held meanwhile: userfaultfd is refused or too old, or the device is on a "
     "disk"},
    {"failed", "the system refused to move its pages"},
});
static_assert(reason_words.size() == static_cast<std::size_t>(foreign_reason::failed) + 1);

constexpr auto reliability_names = std::to_array<const char*>({"unreliable", "delivery", "reception"});
static_assert(reliability_names.size() == static_cast<std::size_t>(reliability::reception) + 1);

constexpr auto state_names = std::to_array<const char*>({"none", "idle", "connecting", "connected", "error"});
static_assert(state_names.size() == static_cast<std::size_t>(vi_state::error) + 1);

constexpr auto cause_names =
    std::to_array<const char*>({"none", "local_error", "remote_error", "remote_disconnect", "peer_died"});
static_assert(cause_names.size() == static_cast<std::size_t>(break_cause::peer_died) + 1);

constexpr auto device_event_names =
    std::to_array<const char*>({"none", "service_changed", "reset_imminent", "removal_imminent", "device_stopping"});
static_assert(device_event_names.size() == static_cast<std::size_t>(device_event_kind::device_stopping) + 1);

template <class Table, class Code>
constexpr auto& look_up(const Table& table, Code code) noexcept {
    const auto i = static_cast<std::size_t>(code);
    return table[i < table.size() ? i : 0];
}

}  // namespace

const char* name(errc code) noexcept { return look_up(errc_words, code).name; }
const char* describe(errc code) noexcept { return look_up(errc_words, code).sentence; }
const char* name(status s) noexcept { return look_up(status_names, s); }
const char* name(opcode o) noexcept { return look_up(opcode_names, o); }
const char* name(backing b) noexcept { return look_up(backing_names, b); }
const char* name(foreign_reason r) noexcept { return look_up(reason_words, r).name; }
const char* describe(foreign_reason r) noexcept { return look_up(reason_words, r).sentence; }
const char* name(reliability r) noexcept { return look_up(reliability_names, r); }
const char* name(vi_state s) noexcept { return look_up(state_names, s); }
const char* name(break_cause c) noexcept { return look_up(cause_names, c); }
const char* name(device_event_kind k) noexcept { return look_up(device_event_names, k); }

namespace {

/// What to do about it, where the operating system's errno knows more than the code.
const char* cure(errc code, int os_errno) noexcept {
    if (code == errc::out_of_memory && os_errno == ENOMEM) {
        return "the system refuses memory or address space; free some, or raise this process' limit (ulimit -v)";
    }
    if (code == errc::out_of_memory && os_errno == EDQUOT) {
        return "the function's memory limit is reached; free some, or have the administrator of the device raise it "
               "(vinic function set vfN --memory SIZE)";
    }
    if (code == errc::out_of_memory && os_errno == EAGAIN) {
        return "the system refuses to lock so much memory; raise this process' limit (ulimit -l), or take less";
    }
    if (code == errc::out_of_memory && os_errno == EFBIG) {
        return "the device file may not grow; raise this process' limit on file sizes (ulimit -f)";
    }
    return describe(code);
}

}  // namespace

std::string error::message() const {
    std::string text = doing.empty() ? std::string() : doing + ": ";
    text += cure(code, os_errno);
    if (os_errno != 0) {
        text += " (";
        text += std::strerror(os_errno);
        text += ")";
    }
    return text;
}

const char* version() noexcept { return VINIC_VERSION; }

}  // namespace vinic
