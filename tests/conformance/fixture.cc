// SPDX-License-Identifier: Apache-2.0
//
// fixture.cc -- endpoints, memory of every kind, and patient waiting.
#include "fixture.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace conformance {
namespace {

settings& chosen_settings() {
    static settings chosen;
    return chosen;
}

vinic::vi_attributes with_queues(vinic::vi_attributes attributes, vinic::completion_queue& sends,
                                 vinic::completion_queue& receives) {
    attributes.send_cq = &sends;
    attributes.receive_cq = &receives;
    return attributes;
}

}  // namespace

const settings& under_test() { return chosen_settings(); }
void set_under_test(settings chosen) { chosen_settings() = std::move(chosen); }

vinic::nic open_device() { return must(vinic::nic::open(under_test().device)); }

vinic::nic open_other_device() { return must(vinic::nic::open(under_test().other)); }

std::string unique_name(std::string_view prefix) {
    static std::atomic<std::uint64_t> counter = 0;
    return std::string(prefix) + "-" + std::to_string(::getpid()) + "-" + std::to_string(++counter);
}

// -- bytes ------------------------------------------------------------------------------------

testing::AssertionResult matches(std::span<const std::byte> bytes, std::uint32_t seed) {
    const std::size_t at = tests::first_difference(bytes, seed);
    if (at == bytes.size())
        return testing::AssertionSuccess();
    return testing::AssertionFailure() << "byte " << at << " of " << bytes.size() << " is "
                                       << std::to_integer<unsigned>(bytes[at]) << " and not what seed " << seed
                                       << " makes";
}

testing::AssertionResult all_are(std::span<const std::byte> bytes, std::byte value) {
    const std::size_t at = tests::first_other(bytes, value);
    if (at == bytes.size())
        return testing::AssertionSuccess();
    return testing::AssertionFailure() << "byte " << at << " of " << bytes.size() << " is "
                                       << std::to_integer<unsigned>(bytes[at]);
}

std::vector<std::byte> pattern(std::size_t bytes, std::uint32_t seed) {
    std::vector<std::byte> made(bytes);
    fill(made, seed);
    return made;
}

const char* name(memory_kind kind) {
    switch (kind) {
        case memory_kind::device:
            return "device";
        case memory_kind::anonymous:
            return "anonymous";
        case memory_kind::shared:
            return "shared";
        case memory_kind::unaligned:
            return "unaligned";
    }
    return "unknown";
}

arena::arena(vinic::nic& nic, memory_kind kind, std::size_t bytes) {
    if (kind == memory_kind::device) {
        buffer_ = must(nic.allocate(bytes));
        bytes_ = buffer_.bytes().first(bytes);
    } else if (kind == memory_kind::unaligned) {
        // Eight spare bytes and a start at an odd address; atomics find their own aligned word.
        heap_.resize(bytes + 8);
        bytes_ = std::span(heap_).subspan((reinterpret_cast<std::uintptr_t>(heap_.data()) & 1) == 0 ? 1 : 2, bytes);
    } else {
        // Room on both sides that nobody can touch: overruns are seen, and no neighbour (the thread's own data, a
        // stack) keeps the library from moving these pages.
        constexpr std::size_t room = 64 * 1024;
        const int sharing = kind == memory_kind::shared ? MAP_SHARED : MAP_PRIVATE;
        mapped_bytes_ = bytes + 2 * room;
        mapped_ = ::mmap(nullptr, mapped_bytes_, PROT_NONE, sharing | MAP_ANONYMOUS, -1, 0);
        if (mapped_ == MAP_FAILED)
            throw std::system_error(errno, std::generic_category(), "mmap");
        bytes_ = {static_cast<std::byte*>(mapped_) + room, bytes};
        if (::mprotect(bytes_.data(), bytes, PROT_READ | PROT_WRITE) != 0)
            throw std::system_error(errno, std::generic_category(), "mprotect");
    }
}

arena::~arena() {
    if (mapped_bytes_ != 0)
        ::munmap(mapped_, mapped_bytes_);
}

// -- endpoints --------------------------------------------------------------------------------

endpoint::endpoint(vinic::nic& device, const endpoint_options& options)
    : nic(device),
      domain(must(device.create_domain())),
      sends(must(device.create_completion_queue(options.queue))),
      receives(must(device.create_completion_queue(options.queue))),
      storage(device, options.kind, options.memory_bytes),
      memory(must(domain.register_memory(storage.bytes(),
                                         static_cast<vinic::access>(static_cast<unsigned>(options.rights) &
                                                                    static_cast<unsigned>(rights_of(options.kind))),
                                         registration_of(options.kind)))),
      vi(must(domain.create_vi(with_queues(options.attributes, sends, receives)))) {}

pair::pair(const endpoint_options& both, handles count) : pair(both, both, count) {}

pair::pair(const endpoint_options& left_options, const endpoint_options& right_options, handles count)
    : nics{open_device(), count == handles::two ? open_other_device() : vinic::nic{}},
      left(nics[0], left_options),
      right(count == handles::two ? nics[1] : nics[0], right_options) {
    connect(right.nic, left.vi, right.vi);
}

void connect(vinic::nic& nic, vinic::virtual_interface& client, vinic::virtual_interface& server) {
    const vinic::address name = fresh_address("link");
    auto listener = must(nic.listen(name));
    auto accepted = in_thread([&] {
        auto request = must(listener.wait(patience));
        must(request.accept(server));
    });
    must(client.connect(name, patience));
    accepted.get();
}

endpoint_options with(vinic::reliability level, vinic::nanoseconds receiver_wait) {
    endpoint_options options;
    options.attributes.reliability = level;
    options.attributes.receiver_wait = receiver_wait;
    return options;
}

std::string handles_name(const testing::TestParamInfo<handles>& info) {
    return info.param == handles::one ? "one_handle" : "two_handles";
}

std::string level_name(const testing::TestParamInfo<vinic::reliability>& info) { return vinic::name(info.param); }

// -- completions ------------------------------------------------------------------------------

vinic::completion next(vinic::completion_queue& cq, std::source_location where) {
    std::array<vinic::completion, 1> done;
    if (must(cq.wait(done, patience), where) != 1)
        throw std::runtime_error(std::string(where.file_name()) + ":" + std::to_string(where.line()) +
                                 ": no completion came");
    return done[0];
}

std::vector<vinic::completion> next(vinic::completion_queue& cq, std::size_t count, std::source_location where) {
    std::vector<vinic::completion> done;
    done.reserve(count);
    while (done.size() < count) done.push_back(next(cq, where));
    return done;
}

testing::AssertionResult is_quiet(vinic::completion_queue& cq) {
    std::array<vinic::completion, 1> done;
    if (must(cq.wait(done, quiet_time)) == 0)
        return testing::AssertionSuccess();
    return testing::AssertionFailure() << "a completion came: " << vinic::name(done[0].opcode) << " "
                                       << vinic::name(done[0].status) << ", cookie " << done[0].cookie;
}

testing::AssertionResult comes_to(const vinic::virtual_interface& vi, vinic::vi_state wanted) {
    if (comes_true([&] { return vi.state() == wanted; }))
        return testing::AssertionSuccess();
    return testing::AssertionFailure() << "the VI stays " << vinic::name(vi.state());
}

}  // namespace conformance
