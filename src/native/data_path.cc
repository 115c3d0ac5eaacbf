// SPDX-License-Identifier: Apache-2.0
//
// data_path.cc -- virtual_interface's posting calls, in terms of vi_body.
#include "placement/vi.hpp"

namespace vinic {

namespace {

work_request request(opcode o, std::span<const segment> segments, std::uint64_t cookie, send_flag flags) noexcept {
    work_request w;
    w.opcode = o;
    w.segments = segments;
    w.cookie = cookie;
    w.flags = flags;
    return w;
}

}  // namespace

errc virtual_interface::post_receive(const segment& s, std::uint64_t cookie) noexcept {
    return body_ ? body_->post_receive(s, cookie) : errc::invalid_handle;
}

errc virtual_interface::post_receive(std::span<const segment> segments, std::uint64_t cookie) noexcept {
    const receive_request r{segments, cookie};
    return post_receives({&r, 1}).code;
}

posted virtual_interface::post_receives(std::span<const receive_request> requests) noexcept {
    return body_ ? body_->post_receives(requests) : posted{0, errc::invalid_handle};
}

errc virtual_interface::post_send(const segment& s, std::uint64_t cookie, send_flag flags,
                                  std::uint32_t immediate) noexcept {
    return body_ ? body_->post_send(s, cookie, flags, immediate) : errc::invalid_handle;
}

errc virtual_interface::post_send(std::span<const segment> gather, std::uint64_t cookie, send_flag flags,
                                  std::uint32_t immediate) noexcept {
    work_request w = request(opcode::send, gather, cookie, flags);
    w.immediate = immediate;
    return body_ ? body_->post(w) : errc::invalid_handle;
}

errc virtual_interface::send_to(datagram_address destination, std::span<const segment> gather, std::uint64_t cookie,
                                send_flag flags, std::uint32_t immediate) noexcept {
    if (!body_) {
        return errc::invalid_handle;
    }
    if (body_->attributes.service != service::datagram) {
        return errc::not_supported;
    }
    work_request w = request(opcode::send, gather, cookie, flags);
    w.immediate = immediate;
    w.destination = destination;
    return body_->post(w);
}

errc virtual_interface::post_write(const segment& s, remote_address to, std::uint64_t cookie, send_flag flags,
                                   std::uint32_t immediate) noexcept {
    return body_ ? body_->post_write(s, to, cookie, flags, immediate) : errc::invalid_handle;
}

errc virtual_interface::post_write(std::span<const segment> gather, remote_address to, std::uint64_t cookie,
                                   send_flag flags, std::uint32_t immediate) noexcept {
    work_request w = request(opcode::write, gather, cookie, flags);
    w.immediate = immediate;
    w.remote = to;
    return body_ ? body_->post(w) : errc::invalid_handle;
}

errc virtual_interface::post_read(const segment& s, remote_address from, std::uint64_t cookie,
                                  send_flag flags) noexcept {
    return post_read(std::span(&s, 1), from, cookie, flags);
}

errc virtual_interface::post_read(std::span<const segment> scatter, remote_address from, std::uint64_t cookie,
                                  send_flag flags) noexcept {
    work_request w = request(opcode::read, scatter, cookie, flags);
    w.remote = from;
    return body_ ? body_->post(w) : errc::invalid_handle;
}

errc virtual_interface::post_fetch_add(const segment& old, remote_address at, std::uint64_t addend,
                                       std::uint64_t cookie, send_flag flags) noexcept {
    work_request w = request(opcode::fetch_add, {&old, 1}, cookie, flags);
    w.remote = at;
    w.operand = addend;
    return body_ ? body_->post(w) : errc::invalid_handle;
}

errc virtual_interface::post_compare_swap(const segment& old, remote_address at, std::uint64_t expected,
                                          std::uint64_t desired, std::uint64_t cookie, send_flag flags) noexcept {
    work_request w = request(opcode::compare_swap, {&old, 1}, cookie, flags);
    w.remote = at;
    w.compare = expected;
    w.operand = desired;
    return body_ ? body_->post(w) : errc::invalid_handle;
}

posted virtual_interface::post(std::span<const work_request> requests) noexcept {
    return body_ ? body_->post_several(requests) : posted{0, errc::invalid_handle};
}

}  // namespace vinic
