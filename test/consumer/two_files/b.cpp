// SPDX-License-Identifier: Apache-2.0
#include <gradpress/gradpress.hpp>

std::size_t padded_in_b(std::size_t n);
std::size_t padded_in_b(std::size_t n) { return gradpress::padded(n); }
