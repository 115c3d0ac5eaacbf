// SPDX-License-Identifier: Apache-2.0
//
// arguments.cc -- getopt for four options, and the frame of every main().
#include "bench/arguments.hpp"

#include <getopt.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <sstream>

namespace vinic::cli::bench {
namespace {

[[noreturn]] void usage(const char* program, const std::string& about, int code) {
    std::fprintf(code == 0 ? stdout : stderr,
                 "usage: %s [--cores A,B] [--directory DIR] [--counts N,N,...] [--only TABLE] [-j|--json]\n%s\n",
                 program, about.c_str());
    std::exit(code);
}

/// Numbers between commas; empty when one of them is none.
template <class Number>
std::vector<Number> numbers(const char* text) {
    std::vector<Number> found;
    std::stringstream list(text);
    for (std::string word; std::getline(list, word, ',');) {
        char* end = nullptr;
        const unsigned long long number = std::strtoull(word.c_str(), &end, 10);
        if (word.empty() || word[0] == '-' || *end != '\0') {
            return {};
        }
        found.push_back(static_cast<Number>(number));
    }
    return found;
}

}  // namespace

arguments read_arguments(int count, char** words, const std::string& about) {
    static const option long_options[] = {{"cores", required_argument, nullptr, 'c'},
                                          {"directory", required_argument, nullptr, 'd'},
                                          {"counts", required_argument, nullptr, 'n'},
                                          {"only", required_argument, nullptr, 'o'},
                                          {"json", no_argument, nullptr, 'j'},
                                          {"help", no_argument, nullptr, 'h'},
                                          {nullptr, 0, nullptr, 0}};
    arguments asked;
    for (int letter = 0; (letter = getopt_long(count, words, "jh", long_options, nullptr)) != -1;) {
        switch (letter) {
            case 'c':
                asked.cores = numbers<int>(optarg);
                break;
            case 'd':
                asked.directory = optarg;
                break;
            case 'n':
                asked.counts = numbers<std::uint64_t>(optarg);
                break;
            case 'o':
                asked.only = optarg;
                break;
            case 'j':
                asked.json = true;
                break;
            case 'h':
                usage(words[0], about, 0);
            default:
                usage(words[0], about, 2);
        }
        if ((letter == 'c' && asked.cores.size() != 2) || (letter == 'n' && asked.counts.empty())) {
            usage(words[0], about, 2);
        }
    }
    if (optind != count) {
        usage(words[0], about, 2);
    }
    return asked;
}

int guarded(const char* program, const std::function<void()>& work) {
    try {
        work();
        return 0;
    } catch (const std::exception& why) {
        std::fprintf(stderr, "%s: %s\n", program, why.what());
        return 1;
    }
}

double median(std::vector<double> samples) {
    if (samples.empty()) {
        return 0;
    }
    const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
    std::ranges::nth_element(samples, middle);
    return *middle;
}

}  // namespace vinic::cli::bench
