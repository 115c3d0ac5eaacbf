// SPDX-License-Identifier: Apache-2.0
//
// scribble.cc -- the original device, the overwriting, and every command that looks.
#include "scribble.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "cli/doctor.hpp"
#include "cli/show.hpp"
#include "cli/show_counter.hpp"

namespace vinic::cli::test {

namespace {

constexpr const char* device = "scribbled";

template <class T>
T must(vinic::result<T> outcome) {
    if (!outcome) {
        throw std::runtime_error(outcome.error().message());
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*outcome);
    }
}

std::vector<std::byte> read_file(int fd, std::uint64_t offset, std::uint64_t bytes) {
    std::vector<std::byte> content(bytes);
    if (::pread(fd, content.data(), bytes, static_cast<off_t>(offset)) != static_cast<ssize_t>(bytes)) {
        throw std::runtime_error("reading the device file");
    }
    return content;
}

/// Something of everything that the commands show.
struct inhabitants {
    explicit inhabitants(const std::filesystem::path& directory) {
        const open_options options{.directory = directory, .group = {}};
        for (side* s : {&left, &right}) {
            s->nic = must(nic::open(std::string("shm:") + device, options));
            s->domain = must(s->nic.create_domain());
            s->cq = must(s->nic.create_completion_queue({.queues_max = 200}));
            s->buffer = must(s->nic.allocate(8192));
            s->region = must(s->domain.register_memory(s->buffer.bytes(), access::all));
            s->vi = must(s->domain.create_vi(
                {.send_cq = &s->cq, .receive_cq = &s->cq, .send_depth = 8, .receive_depth = 8, .segments_max = 8}));
        }
        must(left.vi.connect_peer("left", "right", forever));
        must(right.vi.connect_peer("right", "left", forever));
        (void)must(left.vi.connect_peer_wait());
        (void)must(right.vi.connect_peer_wait());
        for (std::uint64_t i = 0; i < 6; ++i) {
            (void)right.vi.post_receive({right.region, 0, 64}, i);
            (void)left.vi.post_receive({left.region, 0, 64}, i);
        }
        for (std::uint64_t i = 0; i < 8; ++i) {
            (void)left.vi.post_send({left.region, 0, 32}, i);  // the last two wait for a receive
        }
        mailbox = must(right.domain.create_vi({.reliability = reliability::unreliable,
                                               .service = service::datagram,
                                               .send_cq = &right.cq,
                                               .receive_cq = &right.cq}));
        must(mailbox.bind("mailbox"));
        listener = must(right.nic.listen("listener"));
        lonely = must(left.domain.create_vi({.send_cq = &left.cq, .receive_cq = &left.cq}));
        must(lonely.connect_peer("me", "you", forever));
        whole = must(left.domain.register_address_space(access::none));
    }
    struct side {
        vinic::nic nic;
        vinic::domain domain;
        completion_queue cq;
        vinic::buffer buffer;
        vinic::region region;
        virtual_interface vi;
    };
    side left;
    side right;
    virtual_interface mailbox;
    virtual_interface lonely;
    vinic::listener listener;
    region whole;
};

[[noreturn]] void give_up(const char* what, const std::string& output) {
    std::fprintf(stderr, "%s:\n%s\n", what, output.c_str());
    std::abort();
}

void check(const result<std::string>& printed, bool json) {
    const std::string& text = printed ? *printed : printed.error().message();
    for (const char c : text) {
        if (static_cast<unsigned char>(c) < 0x20 && c != '\n') {
            give_up("a control character is printed", text);
        }
    }
    if (json && printed && !nlohmann::json::accept(text)) {
        give_up("this is no JSON", text);
    }
}

}  // namespace

scribbled_device::scribbled_device() {
    std::string path = (std::filesystem::temp_directory_path() / "vinic-scribble-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) {
        throw std::runtime_error("making a temporary directory");
    }
    directory_ = path;
    make_original();
    fd_.reset(::open((directory_ / (std::string("vinic-") + device)).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd_) {
        throw std::runtime_error("making the device file");
    }
    run({});
    const auto seen = must(device_file::open(device, directory_));
    if (seen.state() != file_state::stale || process_list(seen, false).all().size() != 2) {
        throw std::runtime_error("the device file does not look like the original");
    }
}

scribbled_device::~scribbled_device() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
}

void scribbled_device::make_original() {
    const inhabitants everybody(directory_);
    const auto file = must(device_file::open(device, directory_));
    for (off_t at = 0;;) {
        const off_t data = ::lseek(file.fd(), at, SEEK_DATA);
        if (data < 0) {
            break;
        }
        at = ::lseek(file.fd(), data, SEEK_HOLE);
        const auto offset = static_cast<std::uint64_t>(data);
        original_.push_back({offset, read_file(file.fd(), offset, static_cast<std::uint64_t>(at - data))});
    }
    const auto used = [&](abi::table t) { return std::uint64_t{file.backed(t)}; };
    areas_ = {{0, sizeof(abi::device_header)},
              {abi::chunk_owners_offset, abi::chunk_count * 4},
              {abi::processes_offset, 2 * sizeof(abi::process_entry)},
              {abi::domains_offset, 4 * sizeof(abi::domain_entry)},
              {abi::regions_offset, std::min<std::uint64_t>(4, used(abi::regions)) * sizeof(abi::region_entry)},
              {abi::names_offset, 4 * sizeof(abi::name_entry)},
              {abi::requests_offset, 2 * sizeof(abi::request_entry)},
              {abi::cqs_offset, 4 * sizeof(abi::cq_entry)},
              {abi::vis_offset, std::min<std::uint64_t>(5, used(abi::vis)) * sizeof(abi::vi_entry)},
              {abi::first_chunk * abi::chunk_size, 16384},
              {(abi::first_chunk + 1) * abi::chunk_size, 16384}};
}

void scribbled_device::overwrite(const scribble& s) {
    const area& a = areas_[s.area % areas_.size()];
    const std::uint64_t width = std::uint64_t{1} << (s.form & 3);
    const std::uint64_t words = a.bytes / width;
    std::uint64_t value = s.value;
    switch (s.form >> 2 & 7) {
        case 0:
            value = 0;
            break;
        case 1:
            value = ~std::uint64_t{0};
            break;
        case 2:
            value %= 64;
            break;
        case 3:
            value = ~std::uint64_t{0} << (value % 64);
            break;
        case 4:
            value = abi::file_size - value % 4096;
            break;
        default:
            break;
    }
    (void)!::pwrite(fd_.get(), &value, width, static_cast<off_t>(a.offset + s.word % words * width));
}

void scribbled_device::run(std::span<const std::byte> input) {
    for (const piece& p : original_) {
        if (::pwrite(fd_.get(), p.bytes.data(), p.bytes.size(), static_cast<off_t>(p.offset)) < 0) {
            throw std::runtime_error("writing the device file");
        }
    }
    for (; input.size() >= sizeof(scribble); input = input.subspan(sizeof(scribble))) {
        scribble s{};
        std::memcpy(&s, input.data(), sizeof s);
        overwrite(s);
    }
    look();
}

void scribbled_device::look() const {
    counter_options o;
    o.directory = directory_;
    o.device = device;
    using show = result<std::string> (*)(const show_options&);
    for (int way = 0; way < 4; ++way) {
        o.json = (way & 1) != 0;
        o.details = (way & 2) != 0;
        for (const show f : {&show_devices, &show_processes, &show_vis, &show_regions, &show_names, &show_cqs}) {
            check(f(o), o.json);
        }
        (void)show_counters(o, [&](const std::string& text) { check(text, o.json); });
    }
    o.json = false;
    o.openmetrics = true;
    (void)show_counters(o, [&](const std::string& text) { check(text, false); });
    findings all;
    check_device(device, directory_, all);
    check_devices(directory_, all);
    for (const finding& f : all) {
        check(f.found + f.cure, false);
    }
}

}  // namespace vinic::cli::test
