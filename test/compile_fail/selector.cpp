// SPDX-License-Identifier: Apache-2.0
// Each CASE_ must be refused, and with the sentence on its line. With no CASE_ set the file compiles.
#include <gradpress/concepts/selector.hpp>

using namespace gradpress;

struct whole {
  static constexpr std::string_view name = "whole";
  static constexpr support where = support::own;
  static constexpr bool fixed_size = true;
  std::size_t max_kept(std::size_t n) const { return n; }
  template <class Exec>
  void select(step<Exec> const&, in<Exec>, selection<Exec>&) const {}
};
struct no_name {
  static constexpr support where = support::own;
};
struct no_where {
  static constexpr std::string_view name = "no where";
};
struct no_fixed_size : no_where {
  static constexpr support where = support::own;
};
struct no_max_kept : no_fixed_size {
  static constexpr bool fixed_size = true;
};
struct no_select : no_max_kept {
  std::size_t max_kept(std::size_t n) const { return n; }
};
struct returns_int : no_select {
  template <class Exec>
  int select(step<Exec> const&, in<Exec>, selection<Exec>&) const {
    return 0;
  }
};
struct no_default : whole {
  explicit no_default(int) {}
};
struct some_state {
  some_state(auto const&, auto const&, shape) {}
  void visit(auto&&) {}
  void commit() {}
};
struct no_undo : no_select {
  template <class Exec>
  struct state : some_state {
    using some_state::some_state;
  };
  template <class Exec>
  void select(step<Exec> const&, in<Exec>, selection<Exec>&, state<Exec>&) const {}
};
struct ignores_state : whole {
  template <class Exec>
  struct state : some_state {
    using some_state::some_state;
    void undo() {}
  };
};

#if defined(CASE_NO_DEFAULT)  // expect: Selector: must be default-constructible and copyable
static_assert(explain_selector<no_default>());
#elif defined(CASE_NO_NAME)        // expect: Selector: needs 'static constexpr std::string_view name'
static_assert(explain_selector<no_name>());
#elif defined(CASE_NO_WHERE)       // expect: Selector: needs 'static constexpr support where'
static_assert(explain_selector<no_where>());
#elif defined(CASE_NO_FIXED_SIZE)  // expect: Selector: needs 'static constexpr bool fixed_size'
static_assert(explain_selector<no_fixed_size>());
#elif defined(CASE_NO_MAX_KEPT)    // expect: Selector: needs 'std::size_t max_kept
static_assert(explain_selector<no_max_kept>());
#elif defined(CASE_NO_SELECT)      // expect: Selector: needs 'void select
static_assert(explain_selector<no_select>());
#elif defined(CASE_STATE_UNUSED)   // expect: for any execution space; with 'state' a last argument
static_assert(explain_selector<ignores_state>());
#elif defined(CASE_STATE_STAYS)    // expect: Selector: its 'state' needs 'commit()' and 'undo()'
static_assert(explain_selector<no_undo>());
#elif defined(CASE_WRONG_RETURN)   // expect: Selector: needs 'void select
static_assert(explain_selector<returns_int>());
#else
static_assert(explain_selector<whole>());
static_assert(!selector<no_undo> && !selector<ignores_state>);
static_assert(!selector<int> && !selector<no_select> && !selector<returns_int> && !selector<no_default>);
#endif
