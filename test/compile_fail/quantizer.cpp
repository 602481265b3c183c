// SPDX-License-Identifier: Apache-2.0
// Each CASE_ must be refused, and with the sentence on its line. With no CASE_ set the file compiles.
#include <gradpress/concepts/quantizer.hpp>

using namespace gradpress;

struct no_adds_as {
  static constexpr std::string_view name = "q";
};
struct no_code_bytes : no_adds_as {
  using adds_as = void;
};
struct no_codec : no_code_bytes {
  std::size_t code_bytes(std::size_t m) const { return m; }
};
struct whole : no_codec {
  template <class Exec>
  void encode(step<Exec> const&, in<Exec>, bytes<Exec>) const {}
  template <class Exec>
  void decode(step<Exec> const&, in_bytes<Exec>, view<Exec>) const {}
};
struct half_agreed : whole {
  std::size_t agreement_size(std::size_t) const { return 1; }
};

#if defined(CASE_NO_ADDS_AS)  // expect: Quantizer: needs 'using adds_as'
static_assert(explain_quantizer<no_adds_as>());
#elif defined(CASE_NO_CODE_BYTES)  // expect: Quantizer: needs 'std::size_t code_bytes
static_assert(explain_quantizer<no_code_bytes>());
#elif defined(CASE_NO_CODEC)       // expect: Quantizer: needs 'encode
static_assert(explain_quantizer<no_codec>());
#elif defined(CASE_HALF_AGREED)    // expect: Quantizer: with 'agreement_size' it needs 'propose'
static_assert(explain_quantizer<half_agreed>());
#else
static_assert(explain_quantizer<whole>());
static_assert(!quantizer<int> && !quantizer<no_codec> && !quantizer<half_agreed>);
#endif
