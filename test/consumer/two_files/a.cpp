// SPDX-License-Identifier: Apache-2.0
// With b.cpp: both include everything, so whatever is defined but not inline is defined twice and fails to link.
#include <gradpress/gradpress.hpp>

std::size_t padded_in_b(std::size_t n);

int main() { return gradpress::padded(5) == padded_in_b(5) ? 0 : 1; }
