// SPDX-License-Identifier: Apache-2.0
// Each CASE_ must be refused, and with the sentence on its line. With no CASE_ set the file compiles.
#include <gradpress/concepts/exchange.hpp>

using namespace gradpress;

struct no_accepts {
  static constexpr std::string_view name = "x";
};
struct no_run : no_accepts {
  static constexpr bool accepts(message_kind k) { return k.fixed_size; }
};
struct whole : no_run {
  template <class Exec>
  void run(step<Exec> const&, transport&, letter<Exec>&) const {}
};

#if defined(CASE_NO_ACCEPTS)  // expect: Exchange: needs 'static constexpr bool accepts
static_assert(explain_exchange<no_accepts>());
#elif defined(CASE_NO_RUN)  // expect: Exchange: needs 'void run
static_assert(explain_exchange<no_run>());
#elif defined(CASE_PAIR)    // expect: Exchange: it does not accept the messages of this composition
static_assert(explain_pair<whole, message_kind{.fixed_size = false}>());
#else
static_assert(explain_exchange<whole>() && explain_pair<whole, message_kind{}>());
static_assert(!exchange<int> && !exchange<no_run>);
#endif
