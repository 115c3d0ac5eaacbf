// SPDX-License-Identifier: Apache-2.0
//
// sha256.cc -- see sha256.h.  OpenSSL's EVP interface does the work.
#include "sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <vector>

#include "failure.h"

namespace demo {

namespace {

class digest {
public:
    digest() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
        if (context_ == nullptr || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
            throw failure("OpenSSL offers no SHA-256");
        }
    }
    void add(const void* data, std::size_t size) {
        if (EVP_DigestUpdate(context_.get(), data, size) != 1) {
            throw failure("SHA-256 failed");
        }
    }
    std::string finish() {
        std::array<unsigned char, EVP_MAX_MD_SIZE> sum{};
        unsigned size = 0;
        if (EVP_DigestFinal_ex(context_.get(), sum.data(), &size) != 1) {
            throw failure("SHA-256 failed");
        }
        constexpr char digits[] = "0123456789abcdef";
        std::string text;
        for (unsigned i = 0; i < size; ++i) {
            text += digits[sum[i] >> 4];
            text += digits[sum[i] & 15];
        }
        return text;
    }

private:
    std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

}  // namespace

std::string sha256(std::span<const std::byte> bytes) {
    digest d;
    d.add(bytes.data(), bytes.size());
    return d.finish();
}

std::string sha256_of_file(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        fail_with_errno("cannot read " + path);
    }
    digest d;
    std::vector<char> chunk(1u << 20);
    ssize_t got = 0;
    while ((got = read(file, chunk.data(), chunk.size())) > 0) {
        d.add(chunk.data(), static_cast<std::size_t>(got));
    }
    close(file);
    if (got < 0) {
        fail_with_errno("cannot read " + path);
    }
    return d.finish();
}

}  // namespace demo
