// SPDX-License-Identifier: Apache-2.0
//
// config_test.cc -- the configuration file and its units, each good case with its bad twin.
#include "vinicd/config.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "controller/device_settings.hpp"
#include "vinicd/machine_memory.hpp"

namespace vinic::vinicd {
namespace {

std::vector<std::string> read(const std::string& text, options& o) { return read_config(text, "f", o); }

/// What is said of a text with one mistake.
std::string said_of(const std::string& text) {
    options o;
    const auto problems = read(text, o);
    EXPECT_EQ(problems.size(), 1U) << text;
    return problems.empty() ? "" : problems.front();
}

TEST(units, sizes_rates_and_times_are_read_as_people_write_them) {
    EXPECT_EQ(parse_size("65536"), 65536U);
    EXPECT_EQ(parse_size("64KiB"), 65536U);
    EXPECT_EQ(parse_size("64 KiB"), 65536U);
    EXPECT_EQ(parse_size("1.5GiB"), 3U << 29);
    EXPECT_EQ(parse_size("2GB"), 2'000'000'000U);
    EXPECT_EQ(parse_rate("2GB/s"), 2'000'000'000U);
    EXPECT_EQ(parse_rate("500MB/s"), 500'000'000U);
    EXPECT_EQ(parse_rate("10Gbit/s"), 1'250'000'000U);
    EXPECT_EQ(parse_rate("none"), 0U);
    EXPECT_EQ(parse_time("50us"), 50'000U);
    EXPECT_EQ(parse_time("50"), 50'000U);
    EXPECT_EQ(parse_time("0.5s"), 500'000'000U);
    EXPECT_EQ(parse_size("18446744073709551615"), ~0ULL);
}

TEST(units, what_is_none_of_them_is_refused_with_an_example) {
    for (const char* text : {"", "KiB", "64kib", "64KiBs", "-1", "1e3", "1.", ".5KiB", "1.0000001GB", "0.3B", "64  KiB",
                             "18446744073709551616", "20000000TiB", "64KiB/s", "0x10"}) {
        const auto value = parse_size(text);
        ASSERT_FALSE(value) << text << " is " << *value;
        EXPECT_NE(value.error().find("64KiB"), std::string::npos);
    }
    for (const char* text : {"2GB", "2GB/m", "fast", "2 GB / s", "None", "1.5bit/s"}) {
        EXPECT_FALSE(parse_rate(text)) << text;
    }
    for (const char* text : {"1h", "50 usec", "us"}) {
        EXPECT_FALSE(parse_time(text)) << text;
    }
    EXPECT_FALSE(parse_number("8 "));
    EXPECT_FALSE(parse_number("+8"));
}

TEST(units, what_is_printed_reads_back_as_the_same) {
    for (const std::uint64_t value : {0ULL, 1ULL, 1000ULL, 1024ULL, 65536ULL, 65537ULL, 2'000'000'000ULL, 1ULL << 40}) {
        EXPECT_EQ(parse_size(size_text(value)), value);
        EXPECT_EQ(parse_rate(rate_text(value)), value);
        EXPECT_EQ(parse_time(time_text(value)), value);
    }
    EXPECT_EQ(rate_text(2'000'000'000), "2GB/s");
    EXPECT_EQ(size_text(65536), "64KiB");
    EXPECT_EQ(time_text(50'000), "50us");
}

constexpr const char* every_key = R"(
socket = "/tmp/s"
mode = "0640"
group = "root"
functions = 16
engines = 2
queues = 128
lease = "32KiB"
lease-messages = 7
engine-rate = "4GB/s"
policy = "fifo"
window = "1GiB"
vis = 100
vis-total = 1000
regions = 200
contexts = 3
vectors = 16
foreign = false
idle-spin = "1ms"
yield = "on"
verbs = 1000
violations = 50
drain = "2s"
openmetrics = 9469
log-level = "debug"
[function.default]
weight = 2
cap = "1GB/s"
[function.vf3]
guarantee = "500MB/s"
cap = "none"
priority = 1
reserved-queues = 4
memory = "96MiB"
owner = "root"
enabled = "off"
)";

TEST(config, every_key_is_understood) {
    options o;
    const auto problems = read(every_key, o);
    EXPECT_EQ(problems, std::vector<std::string>());
    EXPECT_EQ(o.socket, "/tmp/s");
    EXPECT_EQ(o.mode, 0640U);
    EXPECT_EQ(o.group, 0U);
    EXPECT_EQ(o.device.functions, 16U);
    EXPECT_EQ(o.device.scheduling.engines, 2U);
    EXPECT_EQ(o.device.scheduling.queues, 128U);
    EXPECT_EQ(o.device.scheduling.lease_bytes, 32768U);
    EXPECT_EQ(o.device.scheduling.lease_descriptors, 7U);
    EXPECT_EQ(o.device.scheduling.bytes_per_second, 4'000'000'000U);
    EXPECT_EQ(o.device.scheduling.order, controller::policy::fifo);
    EXPECT_EQ(o.device.defaults.window_bytes, 1U << 30);
    EXPECT_EQ(o.device.defaults.vis_max, 100U);
    EXPECT_EQ(o.device.vis_total, 1000U);
    EXPECT_EQ(o.device.defaults.regions_max, 200U);
    EXPECT_EQ(o.device.defaults.contexts_max, 3U);
    EXPECT_EQ(o.device.defaults.vectors, 16U);
    EXPECT_FALSE(o.device.foreign_memory);
    EXPECT_EQ(o.device.idle_spin_ns, 1'000'000U);
    EXPECT_EQ(o.yield, yield_choice::on);
    EXPECT_EQ(o.device.verbs_per_second, 1000U);
    EXPECT_EQ(o.device.violations_per_second, 50U);
    EXPECT_EQ(o.drain_ns, 2'000'000'000U);
    EXPECT_EQ(o.openmetrics, "9469");
    EXPECT_EQ(o.level, log_level::debug);
    EXPECT_EQ(entitlement_of(o, 4),
              (controller::entitlement{
                  .guarantee = 500'000'000, .cap = 0, .weight = 2, .priority = 1, .reserved_queues = 4}));
    EXPECT_EQ(entitlement_of(o, 1).cap, 1'000'000'000U);
    EXPECT_EQ(entitlement_of(o, 0), controller::entitlement{}) << "the PF is no tenant's: defaults do not hold for it";
    EXPECT_EQ(memory_of(o, 4), 96ULL << 20);
    EXPECT_EQ(memory_of(o, 1), 0U) << "what the program decides at its start";
    EXPECT_EQ(choice_of(o, 4).owner, 0U);
    EXPECT_EQ(choice_of(o, 4).enabled, false);
    EXPECT_EQ(contradictions(o), std::vector<std::string>());
}

struct mistake {
    const char* text;
    const char* said;  ///< a part of it, with the line
};

TEST(config, every_mistake_is_refused_with_its_line_and_a_cure) {
    constexpr mistake all[] = {
        {"functionz = 8", "f:1: unknown key 'functionz' at the top of the file: did you mean 'functions'?"},
        {"\ncolour = 8", "f:2: unknown key 'colour' at the top of the file: known are socket, mode,"},
        {"functions = 0", "f:1: functions: 0 is out of range: write from 1 to 256"},
        {"functions = 257", "write from 1 to 256"},
        {"functions = -1", "write digits only"},
        {"lease = 64KiB", "a value that is no mere number in quotes, such as \"64KiB\""},
        {"functions = 8\nfunctions = 9", "write each key once"},
        {"functions = \"8\"", "a value of type string does not do: write a whole number without quotes"},
        {"functions = 8.5", "a value of type floating-point does not do"},
        {"functions = [8]", "a value of type array does not do"},
        {"functions = true", "a value of type boolean does not do"},
        {"engines = 65", "from 1 to 64"},
        {"queues = 1025", "from 1 to 1024"},
        {"lease = true", "'true' is a truth value: write from 0 to 1GiB"},
        {"lease = \"2GiB\"", "2GiB is out of range"},
        {"window = \"3GiB\"", "a power of two"},
        {"window = \"256MiB\"", "from 512MiB to 256GiB"},
        {"window = \"512GiB\"", "from 512MiB to 256GiB"},
        {"vis = 65537", "from 1 to 65536"},
        {"vis-total = 0", "from 1 to 16842752"},
        {"regions = 1048577", "from 1 to 1048576"},
        {"contexts = 65", "from 1 to 64"},
        {"vectors = 0", "from 1 to 64"},
        {"vectors = 65", "from 1 to 64"},
        {"foreign = \"maybe\"", "'maybe' does not do: write on or off"},
        {"foreign = 1", "write on or off"},
        {"idle-spin = \"1h\"", "'1h' is no time: write microseconds"},
        {"yield = \"often\"", "write one of auto, on, off"},
        {"policy = \"luck\"", "write one of hclock, round-robin, fifo"},
        {"log-level = \"loud\"", "write one of error, warning, info, debug"},
        {"mode = 660", "octal digits"},
        {"mode = \"0067\"", "octal digits"},
        {"mode = \"0999\"", "octal digits"},
        {"group = \"no such group\"", "getent group"},
        {"socket = 5", "write a path"},
        {"socket = \"\"", "write a path"},
        {"a = = 3", "f:1: "},
        {"function = 3", "write [function.vf0] or [function.default]"},
        {"[function]\nvf0 = 3", "f:2: function.vf0 is a table"},
        {"[function.foo]", "f:1: [function.foo] names no function"},
        {"[function.vf00]", "names no function"},
        {"[function.VF0]", "names no function"},
        {"[functions.vf0]", "f:1: functions: is one value and no table; those of functions are called [function.vf0]"},
        {"[function.vf0]\n\nwieght = 3", "f:3: unknown key 'wieght' in [function.vf0]: did you mean 'weight'?"},
        {"[function.vf0]\nsocket = \"x\"", "f:2: unknown key 'socket' in [function.vf0]: known are guarantee, cap"},
        {"[function.vf0]\nweight = 0", "from 1 to 10000"},
        {"[function.vf0]\npriority = 8", "from 0 to 7"},
        {"[function.vf0]\ncap = \"2GB\"", "f:2: cap: '2GB' is no rate: write a number with a unit, such as 500MB/s"},
        {"[function.vf0]\nowner = \"no such user\"", "getent passwd"},
        {"[function.vf0]\nowner = -1", "getent passwd"},
        {"[function.default]\nenabled = 2", "f:2: enabled: '2' does not do"},
    };
    for (const mistake& each : all) {
        const std::string said = said_of(each.text);
        EXPECT_NE(said.find(each.said), std::string::npos) << each.text << "\n" << said;
    }
}

TEST(config, all_mistakes_are_told_from_the_first_line_to_the_last) {
    options o;
    EXPECT_EQ(read("zzz = 1\nqueues = 0\n[function.vf1]\nweight = 0\naaa = 1\n", o).size(), 4U);
    const auto problems = read("zzz = 1\nqueues = 0\n[function.vf1]\nweight = 0\naaa = 1\n", o);
    for (std::size_t i = 0; i < problems.size(); ++i) {
        const char* lines[] = {"f:1: ", "f:2: ", "f:4: ", "f:5: "};
        EXPECT_TRUE(problems[i].starts_with(lines[i])) << problems[i];
    }
}

TEST(config, what_does_not_fit_together_is_told_with_the_line_of_its_table) {
    const auto contradiction = [](const std::string& text) {
        options o;
        EXPECT_EQ(read(text, o), std::vector<std::string>());
        const auto found = contradictions(o);
        return found.empty() ? std::string() : found.front();
    };
    EXPECT_EQ(contradiction("[function.vf7]\nguarantee = \"8GB/s\""), "");
    EXPECT_NE(contradiction("[function.vf7]\nguarantee = \"8.1GB/s\"").find("add up to 8100MB/s"), std::string::npos);
    EXPECT_EQ(contradiction("engines = 2\n[function.default]\nguarantee = \"2GB/s\""), "");
    EXPECT_NE(contradiction("engines = 2\n[function.default]\nguarantee = \"2.1GB/s\""), "");
    EXPECT_EQ(contradiction("[function.vf1]\nguarantee = \"1GB/s\"\ncap = \"1GB/s\""), "");
    EXPECT_TRUE(contradiction("\n[function.vf1]\nguarantee = \"1.1GB/s\"\ncap = \"1GB/s\"")
                    .starts_with("f:2: function vf1: the guarantee of 1100MB/s is above the cap of 1GB/s"));
    EXPECT_EQ(contradiction("[function.vf7]\nweight = 1"), "");
    EXPECT_TRUE(contradiction("[function.vf8]\nweight = 1").starts_with("f:1: function vf8 is configured, but"));
    EXPECT_EQ(contradiction("queues = 9\n[function.vf0]\nreserved-queues = 9"), "");
    EXPECT_NE(contradiction("queues = 9\n[function.vf0]\nreserved-queues = 10").find("add up to 10"),
              std::string::npos);
}

/// What is told to be in order is so for the device as well, at both ends of every range.
TEST(config, what_is_in_order_is_what_a_device_can_be_made_of) {
    struct corners {
        const char* key;
        const char* least;
        const char* most;
        const char* beyond;
    };
    constexpr corners all[] = {
        {"functions", "1", "256", "257"},
        {"engines", "1", "64", "65"},
        {"queues", "1", "1024", "1025"},
        {"lease-messages", "1", "65536", "65537"},
        {"engine-rate", "\"1MB/s\"", "\"1000GB/s\"", "\"1001GB/s\""},
        {"window", "\"512MiB\"", "\"256GiB\"", "\"512GiB\""},
        {"vis", "1", "65536", "65537"},
        {"vis-total", "1", "16842752", "16842753"},
        {"regions", "1", "1048576", "1048577"},
        {"contexts", "1", "64", "65"},
        {"vectors", "1", "64", "65"},
        {"verbs", "1", "1000000000", "1000000001"},
    };
    for (const corners& each : all) {
        for (const char* value : {each.least, each.most}) {
            options o;
            ASSERT_EQ(read(std::string(each.key) + " = " + value, o), std::vector<std::string>());
            EXPECT_EQ(contradictions(o), std::vector<std::string>()) << each.key << " " << value;
            EXPECT_TRUE(controller::check(o.device)) << each.key << " " << value;
        }
        options o;
        EXPECT_EQ(read(std::string(each.key) + " = " + each.beyond, o).size(), 1U) << each.key;
    }
    for (const char* memory : {"16MiB", "1TiB"}) {
        options o;
        ASSERT_EQ(read("[function.vf0]\nmemory = \"" + std::string(memory) + "\"", o), std::vector<std::string>());
        EXPECT_EQ(contradictions(o), std::vector<std::string>()) << memory;
    }
    // What no file can say is found all the same: the question is the one that the device asks.
    options o;
    o.device.defaults.window_bytes = 1ULL << 40;
    ASSERT_EQ(contradictions(o).size(), 1U);
    EXPECT_NE(contradictions(o).front().find("a power of two from 512 MiB to 256 GiB"), std::string::npos);
}

TEST(config, names_are_a_list_of_beginnings_and_are_some_functions_own) {
    options o;
    ASSERT_EQ(read("[function.vf0]\nnames = [\"bank/\", \"clerk\"]\n[function.vf1]\nnames = []", o),
              std::vector<std::string>());
    EXPECT_EQ(choice_of(o, 1).names, (std::vector<std::string>{"bank/", "clerk"}));
    EXPECT_TRUE(choice_of(o, 2).names.empty());
    EXPECT_TRUE(choice_of(o, 3).names.empty());
    EXPECT_EQ(contradictions(o), std::vector<std::string>());
    const std::string list = "[function.vf0]\nnames = ";
    const std::string longest(63, 'x');
    ASSERT_EQ(read(list + "[\"" + longest + "\"]", o), std::vector<std::string>());
    std::string many = "[\"a\"";
    for (int i = 0; i < 64; ++i) {
        many += ", \"a\"";
    }
    for (const std::string& bad :
         {std::string("\"bank/\""), std::string("7"), std::string("[7]"), std::string("[[]]"), std::string("[\"\"]"),
          std::string("[\"a\\u0000b\"]"), "[\"" + longest + "x\"]", many + "]"}) {
        const std::string said = said_of(list + bad);
        EXPECT_NE(said.find("f:2: names: "), std::string::npos) << said;
        EXPECT_NE(said.find("[\"bank/\"]"), std::string::npos) << said;
    }
    ASSERT_EQ(read("[function.default]\nnames = [\"bank/\"]", o), std::vector<std::string>());
    ASSERT_EQ(contradictions(o).size(), 1U);
    EXPECT_TRUE(contradictions(o).front().starts_with("names in [function.default]"));
    EXPECT_NE(said_of("queues = [1]").find("a whole number"), std::string::npos) << "others are no lists";
}

TEST(config, automatic_yielding_counts_cores) {
    options o;
    EXPECT_TRUE(yields(o, 2));
    EXPECT_FALSE(yields(o, 3));
    o.device.scheduling.engines = 2;
    EXPECT_TRUE(yields(o, 3));
    EXPECT_FALSE(yields(o, 4));
    o.yield = yield_choice::off;
    EXPECT_FALSE(yields(o, 1));
    o.yield = yield_choice::on;
    EXPECT_TRUE(yields(o, 64));
}

TEST(config, a_functions_memory_is_a_size_that_holds_its_tables) {
    EXPECT_NE(said_of("[function.vf0]\nmemory = \"15MiB\"").find("write from 16MiB"), std::string::npos);
    EXPECT_NE(said_of("[function.vf0]\nmemory = \"much\"").find("64KiB"), std::string::npos);
    options o;
    ASSERT_EQ(read("[function.default]\nmemory = \"1GiB\"\n[function.vf1]\nmemory = \"64MiB\"", o),
              std::vector<std::string>());
    o.device.defaults.memory_bytes = 4096;
    EXPECT_EQ(memory_of(o, 1), 1ULL << 30);
    EXPECT_EQ(memory_of(o, 2), 64ULL << 20);
    EXPECT_EQ(memory_of(o, 0), 4096U) << "the PF is no tenant's";
}

TEST(config, memory_is_shared_out_of_what_the_control_group_leaves) {
    namespace fs = std::filesystem;
    const fs::path root = fs::path(testing::TempDir()) / ("cgroups" + std::to_string(::getpid()));
    const auto put = [&](const fs::path& file, const std::string& text) {
        fs::create_directories((root / file).parent_path());
        std::ofstream(root / file) << text << "\n";
    };
    put("own", "0::/system.slice/vinicd.service");
    const auto usable = [&] { return usable_memory_bytes(root.string(), (root / "own").string()); };
    const std::uint64_t machine = usable();
    EXPECT_GT(machine, 0U);
    put("system.slice/vinicd.service/memory.max", "max");
    EXPECT_EQ(usable(), machine);
    put("system.slice/vinicd.service/memory.max", "134217728");
    EXPECT_EQ(usable(), 96ULL << 20);
    put("system.slice/memory.max", "67108864");
    EXPECT_EQ(usable(), 48ULL << 20) << "what stands above counts as well";
    put("own", "11:cpu,cpuacct:/x\n4:memory:/y\n0::/nowhere");
    put("memory/y/memory.limit_in_bytes", "268435456");
    EXPECT_EQ(usable(), 192ULL << 20) << "version 1";
    fs::remove_all(root);

    EXPECT_EQ(memory_share(9ULL << 30, 9, 4ULL << 30), 1ULL << 30);
    EXPECT_EQ(memory_share(9ULL << 30, 1, 4ULL << 30), 4ULL << 30) << "more than a window is of no use";
    EXPECT_EQ(memory_share(1ULL << 30, 257, 4ULL << 30), 64ULL << 20) << "less is too little";
}

TEST(config, a_functions_own_words_beat_the_default) {
    options o;
    ASSERT_EQ(read("[function.default]\nweight = 2\npriority = 3\nowner = 5\ngroup = 6\n[function.vf0]\nweight = 4\n"
                   "[function.vf1]\ngroup = 9",
                   o),
              std::vector<std::string>());
    EXPECT_EQ(entitlement_of(o, 1).weight, 4U);
    EXPECT_EQ(entitlement_of(o, 1).priority, 3U);
    EXPECT_EQ(choice_of(o, 1).owner, 5U);
    EXPECT_EQ(choice_of(o, 2).group, 9U);
    EXPECT_EQ(choice_of(o, 2).owner, std::nullopt) << "who may use it is said by one table, not by two";
}

}  // namespace
}  // namespace vinic::vinicd
