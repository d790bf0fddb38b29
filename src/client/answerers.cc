#include "client/answerers.h"

#include <iterator>

namespace flux::client {

NodeId Answerers::choose(const ctrl::Group* group, NodeId self, Rng& rng) const {
  if (group == nullptr || group->voters.empty()) return kNobody;
  const auto answerer = answerers_.find(group->id);
  if (answerer != answerers_.end() && group->has(answerer->second)) return answerer->second;
  if (answerer == answerers_.end() && group->leader != self) return group->leader;
  // The last one was of no use: another.
  auto voter = group->voters.begin();
  std::advance(voter, static_cast<ptrdiff_t>(rng.below(group->voters.size())));
  return *voter == self ? kNobody : *voter;
}

}  // namespace flux::client
