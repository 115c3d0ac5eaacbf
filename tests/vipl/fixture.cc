// SPDX-License-Identifier: Apache-2.0
//
// fixture.cc -- addresses, error logs, endpoints and pairs, and VIPL's numbers by name.
#include "fixture.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <future>
#include <ostream>

void PrintTo(VIP_RETURN code, std::ostream* out) {
    static constexpr const char* names[] = {"VIP_SUCCESS",
                                            "VIP_NOT_DONE",
                                            "VIP_INVALID_PARAMETER",
                                            "VIP_ERROR_RESOURCE",
                                            "VIP_TIMEOUT",
                                            "VIP_REJECT",
                                            "VIP_INVALID_RELIABILITY_LEVEL",
                                            "VIP_INVALID_MTU",
                                            "VIP_INVALID_QOS",
                                            "VIP_INVALID_PTAG",
                                            "VIP_INVALID_RDMAREAD",
                                            "VIP_DESCRIPTOR_ERROR",
                                            "VIP_INVALID_STATE",
                                            "VIP_ERROR_NAMESERVICE",
                                            "VIP_NO_MATCH",
                                            "VIP_NOT_REACHABLE",
                                            "VIP_ERROR_NOT_SUPPORTED"};
    const auto i = static_cast<std::size_t>(code);
    *out << (i < std::size(names) ? names[i] : "unknown VIP_RETURN") << " (" << i << ")";
}

void PrintTo(VIP_VI_STATE state, std::ostream* out) {
    static constexpr const char* names[] = {"Idle", "Connected", "Connect Pending", "Error"};
    const auto i = static_cast<std::size_t>(state);
    *out << (i < std::size(names) ? names[i] : "unknown state") << " (" << i << ")";
}

void PrintTo(VIP_ERROR_CODE code, std::ostream* out) {
    static constexpr const char* names[] = {"POST_DESC",  "CONN_LOST",      "RECVQ_EMPTY", "VI_OVERRUN",
                                            "RDMAW_PROT", "RDMAW_DATA",     "RDMAW_ABORT", "RDMAR_PROT",
                                            "COMP_PROT",  "RDMA_TRANSPORT", "CATASTROPHIC"};
    const auto i = static_cast<std::size_t>(code);
    *out << (i < std::size(names) ? names[i] : "unknown error") << " (" << i << ")";
}

namespace vipl_test {

namespace {

[[noreturn]] void fail(const std::string& what, std::source_location where) {
    throw std::runtime_error(std::string(where.file_name()) + ":" + std::to_string(where.line()) + ": " + what);
}

}  // namespace

void must(VIP_RETURN code, std::source_location where) {
    if (code != VIP_SUCCESS) {
        fail(testing::PrintToString(code), where);
    }
}

with_environment::with_environment(const char* name, const std::string& value) : name_(name) {
    const char* before = std::getenv(name);
    was_set_ = before != nullptr;
    before_ = was_set_ ? before : "";
    ::setenv(name, value.c_str(), 1);
}

with_environment::~with_environment() {
    if (was_set_) {
        ::setenv(name_.c_str(), before_.c_str(), 1);
    } else {
        ::unsetenv(name_.c_str());
    }
}

// -- addresses --------------------------------------------------------------------------------

net_address::net_address(std::span<const VIP_UINT8> host, std::string_view discriminator) {
    get()->HostAddressLen = static_cast<VIP_UINT16>(host.size());
    get()->DiscriminatorLen = static_cast<VIP_UINT16>(discriminator.size());
    std::copy(host.begin(), host.end(), bytes_.begin() + offsetof(VIP_NET_ADDRESS, HostAddress));
    std::copy(discriminator.begin(), discriminator.end(),
              bytes_.begin() + offsetof(VIP_NET_ADDRESS, HostAddress) + static_cast<std::ptrdiff_t>(host.size()));
}

VIP_NET_ADDRESS net_address::header() const {
    VIP_NET_ADDRESS h;
    std::memcpy(&h, bytes_.data(), sizeof h);
    return h;
}

std::string net_address::host() const {
    return {reinterpret_cast<const char*>(bytes_.data()) + offsetof(VIP_NET_ADDRESS, HostAddress),
            header().HostAddressLen};
}

std::string net_address::discriminator() const {
    const VIP_NET_ADDRESS h = header();
    return {reinterpret_cast<const char*>(bytes_.data()) + offsetof(VIP_NET_ADDRESS, HostAddress) + h.HostAddressLen,
            h.DiscriminatorLen};
}

std::string fresh_discriminator() {
    static std::atomic<unsigned> last{0};
    std::string text = std::to_string(++last);
    text += "-discriminator";
    return text;
}

// -- NIC handles and asynchronous errors ------------------------------------------------------

namespace {
/// In place of the default handler: connections are lost all the time here, and nobody wants to read it.
void ignore(VIP_PVOID, VIP_ERROR_DESCRIPTOR*) {}
}  // namespace

error_log::error_log(VIP_NIC_HANDLE nic) : nic_(nic) { must(VipErrorCallback(nic, this, &error_log::heard)); }

error_log::~error_log() { (void)VipErrorCallback(nic_, nullptr, &ignore); }

void error_log::heard(VIP_PVOID context, VIP_ERROR_DESCRIPTOR* error) {
    auto& log = *static_cast<error_log*>(context);
    const std::lock_guard hold(log.mutex_);
    log.errors_.push_back(*error);
    log.changed_.notify_all();
}

VIP_ERROR_DESCRIPTOR error_log::wait_for(VIP_ERROR_CODE code, std::source_location where) const {
    std::unique_lock hold(mutex_);
    auto found = errors_.end();
    const bool came = changed_.wait_for(hold, patience, [&] {
        found = std::find_if(errors_.begin(), errors_.end(), [&](const auto& e) { return e.ErrorCode == code; });
        return found != errors_.end();
    });
    if (!came) {
        fail("no asynchronous error " + testing::PrintToString(code), where);
    }
    return *found;
}

std::size_t error_log::count(VIP_ERROR_CODE code) const {
    const std::lock_guard hold(mutex_);
    return static_cast<std::size_t>(
        std::count_if(errors_.begin(), errors_.end(), [&](const auto& e) { return e.ErrorCode == code; }));
}

std::size_t error_log::count() const {
    const std::lock_guard hold(mutex_);
    return errors_.size();
}

void error_log::clear() {
    const std::lock_guard hold(mutex_);
    errors_.clear();
}

nic::nic(const char* device) {
    must(VipOpenNic(device, &handle));
    must(VipErrorCallback(handle, nullptr, &ignore));
}

nic::~nic() { close(); }

void nic::close() {
    if (handle != nullptr) {
        EXPECT_EQ(VipCloseNic(handle), VIP_SUCCESS);
        handle = nullptr;
    }
}

VIP_NIC_ATTRIBUTES nic::attributes() const {
    VIP_NIC_ATTRIBUTES a;
    must(VipQueryNic(handle, &a));
    return a;
}

net_address nic::address(std::string_view discriminator) const {
    const VIP_NIC_ATTRIBUTES a = attributes();
    return {std::span(a.LocalNicAddress, a.NicAddressLen), discriminator};
}

std::string level_name(const testing::TestParamInfo<VIP_RELIABILITY_LEVEL>& info) {
    return info.param == VIP_SERVICE_UNRELIABLE          ? "unreliable"
           : info.param == VIP_SERVICE_RELIABLE_DELIVERY ? "delivery"
                                                         : "reception";
}

// -- endpoints --------------------------------------------------------------------------------

namespace {
constexpr std::size_t wide_offset = endpoint::descriptors * sizeof(VIP_DESCRIPTOR);
constexpr std::size_t buffer_offset = wide_offset + endpoint::wide_descriptors * endpoint::wide_bytes;
constexpr std::size_t storage_bytes = (buffer_offset + endpoint::buffer_bytes + 4095) / 4096 * 4096;
}  // namespace

endpoint::endpoint(nic& d, const endpoint_options& o) : device(d) {
    must(VipCreatePtag(device, &tag));
    storage_ = static_cast<std::byte*>(std::aligned_alloc(4096, storage_bytes));
    std::memset(storage_, 0, storage_bytes);
    VIP_MEM_ATTRIBUTES rights{};
    rights.Ptag = tag;
    rights.EnableRdmaWrite = o.memory_write ? VIP_TRUE : VIP_FALSE;
    rights.EnableRdmaRead = o.memory_read ? VIP_TRUE : VIP_FALSE;
    must(VipRegisterMem(device, storage_, storage_bytes, &rights, &memory));
    attributes_.ReliabilityLevel = o.level;
    attributes_.MaxTransferSize = o.transfer_bytes_max;
    attributes_.QoS = o.quality_of_service;
    attributes_.Ptag = tag;
    attributes_.EnableRdmaWrite = o.vi_write ? VIP_TRUE : VIP_FALSE;
    attributes_.EnableRdmaRead = o.vi_read && o.level != VIP_SERVICE_UNRELIABLE ? VIP_TRUE : VIP_FALSE;
    must(VipCreateVi(device, &attributes_, o.send_cq, o.receive_cq, &vi));
}

endpoint::~endpoint() {
    if (device.handle != nullptr) {
        if (vi != nullptr) {
            EXPECT_EQ(VipDisconnect(vi), VIP_SUCCESS);
            drain();
            EXPECT_EQ(VipDestroyVi(vi), VIP_SUCCESS);
        }
        if (memory != 0) {
            EXPECT_EQ(VipDeregisterMem(device, storage_, memory), VIP_SUCCESS);
        }
        EXPECT_EQ(VipDestroyPtag(device, tag), VIP_SUCCESS);
    }
    std::free(storage_);
}

VIP_DESCRIPTOR* endpoint::descriptor(std::size_t i) const { return reinterpret_cast<VIP_DESCRIPTOR*>(storage_) + i; }

VIP_DESCRIPTOR* endpoint::wide_descriptor(std::size_t i) const {
    return reinterpret_cast<VIP_DESCRIPTOR*>(storage_ + wide_offset + i * wide_bytes);
}

char* endpoint::buffer(std::size_t offset) const { return reinterpret_cast<char*>(storage_) + buffer_offset + offset; }

namespace {

VIP_DESCRIPTOR* begin(VIP_DESCRIPTOR* d, std::uint16_t control, std::size_t segments, std::uint32_t immediate) {
    d->CS = {};
    d->CS.SegCount = static_cast<VIP_UINT16>(segments);
    d->CS.Control = control;
    d->CS.ImmediateData = immediate;
    return d;
}

/// Data segments behind the first `skip`; through a pointer, since there may be more than are declared.
VIP_DESCRIPTOR* add(VIP_DESCRIPTOR* d, std::size_t skip, std::span<const piece> pieces) {
    auto* segment = reinterpret_cast<VIP_DATA_SEGMENT*>(reinterpret_cast<std::byte*>(d) + sizeof(VIP_CONTROL_SEGMENT));
    segment += skip;
    for (const piece& p : pieces) {
        segment->Data.AddressBits = 0;
        segment->Data.Address = p.at;
        segment->Handle = p.handle;
        segment->Length = p.bytes;
        d->CS.Length += p.bytes;
        ++segment;
    }
    return d;
}

}  // namespace

VIP_DESCRIPTOR* endpoint::write(VIP_DESCRIPTOR* d, std::uint16_t control, std::span<const piece> pieces,
                                std::uint32_t immediate) const {
    return add(begin(d, control, pieces.size(), immediate), 0, pieces);
}

VIP_DESCRIPTOR* endpoint::write_rdma(VIP_DESCRIPTOR* d, std::uint16_t control, const piece& remote,
                                     std::span<const piece> pieces, std::uint32_t immediate) const {
    begin(d, control, pieces.size() + 1, immediate);
    d->DS[0].Remote.Data.AddressBits = 0;
    d->DS[0].Remote.Data.Address = remote.at;
    d->DS[0].Remote.Handle = remote.handle;
    d->DS[0].Remote.Reserved = 0;
    return add(d, 1, pieces);
}

VIP_DESCRIPTOR* endpoint::post_send(VIP_DESCRIPTOR* d, std::source_location where) const {
    must(VipPostSend(vi, d, memory), where);
    return d;
}

VIP_DESCRIPTOR* endpoint::post_receive(VIP_DESCRIPTOR* d, std::source_location where) const {
    must(VipPostRecv(vi, d, memory), where);
    return d;
}

std::uint32_t endpoint::finish(VIP_RETURN code, const VIP_DESCRIPTOR* taken, const VIP_DESCRIPTOR* wanted,
                               std::source_location where) const {
    if (code != VIP_SUCCESS && code != VIP_DESCRIPTOR_ERROR) {
        fail(testing::PrintToString(code) + " instead of a descriptor", where);
    }
    if (taken != wanted) {
        fail("another descriptor than the one that was posted first", where);
    }
    const std::uint32_t status = taken->CS.Status;
    if ((status & VIP_STATUS_DONE) == 0 || ((status & VIP_STATUS_ERROR_MASK) != 0) != (code == VIP_DESCRIPTOR_ERROR) ||
        (status & VIP_STATUS_RESERVED) != 0) {
        fail("status " + std::to_string(status) + " does not go with " + testing::PrintToString(code), where);
    }
    return status;
}

std::uint32_t endpoint::finish_send(const VIP_DESCRIPTOR* d, std::source_location where) const {
    VIP_DESCRIPTOR* taken = nullptr;
    const VIP_RETURN code = VipSendWait(vi, patience_ms, &taken);
    return finish(code, taken, d, where);
}

std::uint32_t endpoint::finish_receive(const VIP_DESCRIPTOR* d, std::source_location where) const {
    VIP_DESCRIPTOR* taken = nullptr;
    const VIP_RETURN code = VipRecvWait(vi, patience_ms, &taken);
    return finish(code, taken, d, where);
}

VIP_VI_STATE endpoint::state() const {
    VIP_VI_STATE s = VIP_STATE_IDLE;
    VIP_VI_ATTRIBUTES a;
    VIP_BOOLEAN send_empty = VIP_FALSE;
    VIP_BOOLEAN receive_empty = VIP_FALSE;
    must(VipQueryVi(vi, &s, &a, &send_empty, &receive_empty));
    return s;
}

std::size_t endpoint::drain() const {
    std::size_t n = 0;
    for (auto* take : {&VipSendDone, &VipRecvDone}) {
        VIP_DESCRIPTOR* d = nullptr;
        VIP_RETURN r = take(vi, &d);
        while (r == VIP_SUCCESS || (r == VIP_DESCRIPTOR_ERROR && d != nullptr)) {
            ++n;
            r = take(vi, &d);
        }
    }
    return n;
}

void connect(endpoint& client, endpoint& server) {
    const std::string discriminator = fresh_discriminator();
    net_address from = client.device.address("");
    net_address to = server.device.address(discriminator);
    auto accepted = std::async(std::launch::async, [&] {
        net_address remote;
        VIP_CONN_HANDLE request = nullptr;
        must(VipConnectWait(server.device, to.get(), patience_ms, remote.get(), &server.remote_attributes, &request));
        must(VipConnectAccept(request, server.vi));
    });
    VIP_RETURN r = VIP_NO_MATCH;
    (void)comes_true([&] {
        r = VipConnectRequest(client.vi, from.get(), to.get(), patience_ms, &client.remote_attributes);
        return r != VIP_NO_MATCH;
    });
    accepted.get();
    must(r);
}

pair::pair(const endpoint_options& left_options, const endpoint_options& right_options)
    : left(left_nic, left_options), right(right_nic, right_options) {
    connect(left, right);
}

cq_entry next_entry(VIP_CQ_HANDLE cq, std::source_location where) {
    cq_entry e;
    must(VipCQWait(cq, patience_ms, &e.vi, &e.receive), where);
    return e;
}

void fill(std::span<char> bytes, std::uint32_t seed) { tests::fill(std::as_writable_bytes(bytes), seed); }

testing::AssertionResult matches(std::span<const char> bytes, std::uint32_t seed) {
    const std::size_t at = tests::first_difference(std::as_bytes(bytes), seed);
    if (at == bytes.size())
        return testing::AssertionSuccess();
    return testing::AssertionFailure() << "byte " << at << " of " << bytes.size() << " is not what seed " << seed
                                       << " makes";
}

}  // namespace vipl_test
