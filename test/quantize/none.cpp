// SPDX-License-Identifier: Apache-2.0
#include <gradpress/quantize/none.hpp>

#include "../concepts/quantizer_laws.hpp"

using namespace gradpress;
using namespace gradpress::test;

// What is a Quantizer, and what is not.
namespace {
struct no_adds_as {
  static constexpr std::string_view name = "no_adds_as";
  std::size_t code_bytes(std::size_t m) const { return m; }
  template <class Exec>
  void encode(step<Exec> const&, in<Exec>, bytes<Exec>) const {}
  template <class Exec>
  void decode(step<Exec> const&, in_bytes<Exec>, view<Exec>) const {}
};
struct no_code_bytes {
  using adds_as = void;
  static constexpr std::string_view name = "no_code_bytes";
  template <class Exec>
  void encode(step<Exec> const&, in<Exec>, bytes<Exec>) const {}
  template <class Exec>
  void decode(step<Exec> const&, in_bytes<Exec>, view<Exec>) const {}
};
struct cannot_decode {
  using adds_as = void;
  static constexpr std::string_view name = "cannot_decode";
  std::size_t code_bytes(std::size_t m) const { return m; }
  template <class Exec>
  void encode(step<Exec> const&, in<Exec>, bytes<Exec>) const {}
};
/// Agreement without the three operations that go with it.
struct agrees_and_does_not_propose : unquantized {
  std::size_t agreement_size(std::size_t) const { return 1; }
};
}  // namespace
static_assert(quantizer<unquantized>);
static_assert(!agreeing<unquantized>);
static_assert(!quantizer<no_adds_as>);
static_assert(!quantizer<no_code_bytes>);
static_assert(!quantizer<cannot_decode>);
static_assert(!quantizer<agrees_and_does_not_propose>);
static_assert(!quantizer<int>);
static_assert(unquantized{}.code_bytes(0) == 0 && unquantized{}.code_bytes(33) == 132);

TEST_CASE("quantize::none obeys the laws of quantizers") {
  check_quantizer(unquantized{}, {.leading_floats = [](std::size_t m) { return m; }});
}

TEST_CASE("quantize::none loses no bit, not even a sign of zero or a payload") {
  floats const odd = {0.f, -0.f, 1e-45f, -3e38f, not_finite[0], not_finite[1]};
  CHECK(identical(round_trip(unquantized{}, odd), odd));
  auto const x = heavy_tailed(100003);
  CHECK(identical(round_trip(unquantized{}, x), x));
  CHECK(describe(unquantized{}) == "none");
}
