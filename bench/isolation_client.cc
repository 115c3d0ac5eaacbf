// SPDX-License-Identifier: Apache-2.0
//
// isolation_client.cc -- the packets, words and rings that such a tenant writes, written by hand.
#include "bench/isolation_client.hpp"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <thread>
#include <vinic/vinic.hpp>

#include "isolated/server.hpp"
#include "os/sync.hpp"

namespace vinic::bench {

namespace {

constexpr std::uint64_t answer_patience_ns = 10'000'000'000;
constexpr std::uint64_t answer_slice_ns = 20'000'000;

abi::address_key name_of(std::uint32_t function, std::uint32_t vi, char side) {
    const std::string text =
        "isolation-" + std::to_string(function) + "-" + std::to_string(vi) + "-" + std::string(1, side);
    abi::address_key k{};
    k.name_bytes = static_cast<std::uint16_t>(text.size());
    std::copy(text.begin(), text.end(), k.name);
    return k;
}

template <class T>
std::span<const std::byte> bytes_of(const T& t) {
    return std::as_bytes(std::span(&t, 1));
}

struct busy {};

/// The reply to `request` and the descriptors that came along.
template <class Reply, class Request>
Reply exchange(int socket, const Request& request, std::span<int> descriptors) {
    if (::send(socket, &request, sizeof request, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof request)) {
        broken("writing to vinicd");
    }
    Reply reply{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(3 * sizeof(int))> control{};
    iovec content{.iov_base = &reply, .iov_len = sizeof reply};
    msghdr message{};
    message.msg_iov = &content;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    if (::recvmsg(socket, &message, MSG_CMSG_CLOEXEC) < 4) {
        broken("reading what vinicd answers");
    }
    if (reply.code == static_cast<std::uint32_t>(errc::busy)) {
        throw busy();
    }
    if (reply.code != 0) {
        broken("vinicd refuses with code " + std::to_string(reply.code));
    }
    if (!descriptors.empty()) {
        const cmsghdr* header = CMSG_FIRSTHDR(&message);
        if (header == nullptr || header->cmsg_len != CMSG_LEN(descriptors.size_bytes())) {
            broken("vinicd sends no window");
        }
        std::memcpy(descriptors.data(), CMSG_DATA(header), descriptors.size_bytes());
    }
    return reply;
}

}  // namespace

void broken(const std::string& what) { throw std::runtime_error(what); }

int connect_socket(const std::string& path) {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    if (path.size() >= sizeof to.sun_path) {
        broken("the path of the socket is too long");
    }
    std::memcpy(to.sun_path, path.data(), path.size());
    const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
        broken("connecting to " + path + ": " + std::strerror(errno));
    }
    if (const auto believed = isolated::believe_server(fd, isolated::believed_user({})); !believed) {
        broken("connecting to " + path + ": " + believed.error().doing);
    }
    return fd;
}

// -- tenant -------------------------------------------------------------------------------------

tenant::tenant(const std::string& path, std::uint32_t function, std::uint32_t contexts) : function_(function) {
    const std::uint64_t end = os::now_ns() + answer_patience_ns;
    for (std::uint32_t c = 0; c < contexts;) {
        try {
            enter(path, c);
            ++c;
        } catch (const busy&) {  // what was there before is being cleared away
            ::close(sockets_.back());
            sockets_.pop_back();
            if (c == 0) {
                let_go();
            }
            if (os::now_ns() > end) {
                broken("a function is busy for too long");
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }
}

void tenant::let_go() {
    if (base_ != nullptr) {
        ::munmap(base_, bytes_);
        ::close(window_);
        ::close(doorbell_);
        ::close(mailbox_);
        base_ = nullptr;
    }
}

void tenant::enter(const std::string& path, std::uint32_t context) {
    sockets_.push_back(connect_socket(path));
    std::array<int, 3> given{};
    const abi::attach_request attach{.magic = abi::window_magic,
                                     .version = abi::window_version,
                                     .kind = static_cast<std::uint32_t>(abi::packet::attach),
                                     .function = function_,
                                     .reserved_ = 0};
    const auto attached = exchange<abi::attach_reply>(sockets_.back(), attach, given);
    if (base_ == nullptr) {
        bytes_ = attached.window_bytes;
        window_ = given[0];
        doorbell_ = given[1];
        mailbox_ = given[2];
        void* p = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, window_, 0);
        if (p == MAP_FAILED) {
            broken("mapping a window");
        }
        base_ = static_cast<std::byte*>(p);
    } else {
        std::for_each(given.begin(), given.end(), ::close);
    }
    const abi::enter_request entering{.kind = static_cast<std::uint32_t>(abi::packet::enter), .context = context};
    (void)exchange<abi::enter_reply>(sockets_.back(), entering, {});
    requests_.push_back(at<abi::mailbox>(abi::mailbox_offset(context))->request.sequence.load_relaxed());
}

tenant::~tenant() {
    std::for_each(sockets_.begin(), sockets_.end(), ::close);
    let_go();
}

void tenant::ask(std::uint32_t context, abi::verb verb, std::array<std::uint64_t, 6> v,
                 std::span<const std::byte> payload) {
    abi::mailbox& box = *at<abi::mailbox>(abi::mailbox_offset(context));
    box.request.code = static_cast<std::uint32_t>(verb);
    std::memcpy(box.request.value, v.data(), sizeof box.request.value);
    box.request.payload_bytes = static_cast<std::uint32_t>(payload.size());
    std::copy_n(reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size(), box.request_payload);
    box.request.sequence.store_release(++requests_[context]);
    kick_mailbox();
}

tenant::answer tenant::await(std::uint32_t context) {
    abi::mailbox& box = *at<abi::mailbox>(abi::mailbox_offset(context));
    const std::uint32_t sequence = requests_[context];
    const std::uint64_t end = os::now_ns() + answer_patience_ns;
    for (std::uint32_t seen; (seen = box.response.sequence.load_acquire()) != sequence;) {
        if (is_cut_off() || os::now_ns() > end) {
            broken(is_cut_off() ? "the device has cut this tenant off" : "the mailbox does not answer");
        }
        os::futex_wait(&box.response.sequence.raw_, seen, answer_slice_ns);
    }
    answer a;
    a.code = box.response.code;
    std::memcpy(a.r.data(), box.response.value, sizeof box.response.value);
    return a;
}

bool tenant::is_cut_off() const {
    const auto& id = *at<abi::identity_page>(abi::identity_offset);
    return id.context_epoch[0].load_acquire() == 0;
}

void tenant::kick_mailbox() const {
    const std::uint64_t one = 1;
    (void)!::write(mailbox_, &one, sizeof one);
}

void tenant::kick_doorbell() const {
    const std::uint64_t one = 1;
    (void)!::write(doorbell_, &one, sizeof one);
}

void tenant::ring(std::uint32_t context, std::uint32_t vi) const {
    if (abi::ring(at<std::byte>(abi::doorbell_offset(context)), abi::doorbell_colour(function_, context), vi) ==
        abi::rang::kick) {
        kick_doorbell();
    }
}

abi::word64& tenant::bell(std::uint32_t context, std::uint32_t (*offset)(std::uint32_t, std::uint32_t),
                          std::uint32_t number) const {
    return abi::bell_word(at<std::byte>(abi::doorbell_offset(context)),
                          offset(abi::doorbell_colour(function_, context), number));
}

std::uint64_t tenant::take(std::uint64_t bytes) {
    const std::uint64_t here = taken_;
    taken_ += (bytes + 127) / 128 * 128;
    if (taken_ > data_offset) {
        broken("the rings of this attack are too large");
    }
    return here;
}

void tenant::register_region(std::uint32_t key, std::uint64_t offset, std::uint64_t length) {
    if (const answer a = call(abi::verb::register_region, {key, 1, 15, offset, length, offset}); a.code != 0) {
        broken("registering a region ends with code " + std::to_string(a.code));
    }
}

raw_vi& tenant::make_vi(const vi_shape& shape) {
    return vis_.emplace_back(*this, static_cast<std::uint32_t>(vis_.size()), shape);
}

// -- raw_vi -------------------------------------------------------------------------------------

raw_vi::raw_vi(tenant& owner, std::uint32_t number, const vi_shape& shape)
    : owner_(owner),
      number_(number),
      shape_(shape),
      depth_log2_(static_cast<std::uint32_t>(std::countr_zero(shape.depth))),
      extra_segments_(shape.segments_max > abi::send_segments_in_line ? shape.segments_max - abi::send_segments_in_line
                                                                      : 1),
      receive_extra_segments_(
          shape.segments_max > abi::receive_segments_in_line ? shape.segments_max - abi::receive_segments_in_line : 0),
      entry_(owner.at<abi::vi_entry>(abi::vis_offset)[number]) {
    abi::vi_description d{};
    d.domain = 1;
    d.flags = abi::allow_write | abi::allow_read | abi::allow_atomic;
    d.reliability = shape.reliable ? 1 : 0;
    d.transfer_bytes_max = 1u << 31;
    d.receiver_wait_ns = shape.receiver_wait_ns;
    d.send_depth = d.receive_depth = shape.depth;
    d.segments_max = std::max(shape.segments_max, 3u);
    d.inline_bytes_max = 48;
    d.generation = 1;
    d.send_ring = owner.take(std::uint64_t{shape.depth} * sizeof(abi::send_descriptor));
    d.receive_ring = owner.take(std::uint64_t{shape.depth} * sizeof(abi::receive_slot));
    const std::uint64_t send_extra = owner.take(std::uint64_t{shape.depth} * extra_segments_ * sizeof(abi::segment));
    const std::uint64_t receive_extra =
        owner.take(std::uint64_t{shape.depth} * receive_extra_segments_ * sizeof(abi::segment));
    sends_ = owner.at<abi::send_descriptor>(d.send_ring);
    receives_ = owner.at<abi::receive_slot>(d.receive_ring);
    send_extra_ = owner.at<abi::segment>(send_extra);
    receive_extra_ = owner.at<abi::segment>(receive_extra);
    entry_.send_extra.store_release(send_extra);
    entry_.receive_extra.store_release(receive_extra);
    if (const auto a = owner.call(abi::verb::create_vi, {number}, bytes_of(d)); a.code != 0) {
        broken("creating a VI ends with code " + std::to_string(a.code));
    }
}

void raw_vi::connect(raw_vi& peer) {
    abi::peer_mail mail{};
    mail.local = name_of(owner_.function(), number_, 'a');
    mail.remote = name_of(owner_.function(), number_, 'b');
    const auto first =
        owner_.call(abi::verb::connect_peer, {number_, 0, 2 * number_ % abi::request_count}, bytes_of(mail));
    std::swap(mail.local, mail.remote);
    const auto second = peer.owner_.call(
        abi::verb::connect_peer, {peer.number_, 0, (2 * peer.number_ + 1) % abi::request_count}, bytes_of(mail));
    if (first.code != 0 || second.code != 0) {
        broken("connecting ends with codes " + std::to_string(first.code) + " and " + std::to_string(second.code));
    }
}

bool raw_vi::has_room() const {
    return sent_ < shape_.depth || slot(sent_).done.load_acquire() == sent_ - shape_.depth + 1;
}

std::span<abi::segment> raw_vi::next_extra() const {
    return {send_extra_ + std::size_t{sent_ & (shape_.depth - 1)} * extra_segments_, extra_segments_};
}

void raw_vi::put(const abi::send_descriptor& d) {
    abi::send_descriptor& s = slot(sent_);
    s.opcode = d.opcode;
    s.flags = d.flags;
    s.immediate = d.immediate;
    s.segment_count = d.segment_count;
    s.inline_bytes = d.inline_bytes;
    s.remote_address = d.remote_address;
    s.remote_key = d.remote_key;
    s.length = d.length;
    std::copy(std::begin(d.segments), std::end(d.segments), std::begin(s.segments));
    std::atomic_ref(s.lap).store(abi::lap_of(sent_, depth_log2_), std::memory_order_release);
    ++sent_;
}

void raw_vi::ring() {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // the last lap before the look at `watched`
    if (entry_.watched.load_relaxed() == 0) {
        owner_.ring(0, number_);
    }
}

bool raw_vi::put_receive(std::span<const abi::segment> segments) {
    abi::receive_slot& r = receive(received_);
    if (received_ >= shape_.depth && r.completion.sequence.load_acquire() != received_ - shape_.depth + 1) {
        return false;
    }
    r.descriptor.segment_count = static_cast<std::uint16_t>(segments.size());
    const std::size_t in_line = std::min<std::size_t>(segments.size(), abi::receive_segments_in_line);
    std::copy_n(segments.begin(), in_line, r.descriptor.segments);
    std::copy(segments.begin() + static_cast<std::ptrdiff_t>(in_line), segments.end(),
              receive_extra_ + std::size_t{received_ & (shape_.depth - 1)} * receive_extra_segments_);
    r.descriptor.sequence.store_release(++received_);
    return true;
}

void raw_vi::ring_receives() {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // the last sequence before the look at receive_attention
    if (entry_.receive_attention.load_relaxed() != 0) {
        owner_.ring(0, number_);
    }
}

}  // namespace vinic::bench
