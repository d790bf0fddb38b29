// Nodes' answers over HTTP, as JSON.
#pragma once

#include <boost/json.hpp>
#include <map>
#include <string>
#include <string_view>

#include "main/ctl/commands.h"

namespace flux::main::ctl {

namespace json = boost::json;

// Fields of answers are there by contract; where an old or strange server lacks one, it is "", 0, false or empty.
std::string text(const json::object& object, std::string_view name);
uint64_t number(const json::object& object, std::string_view name);
bool flag(const json::object& object, std::string_view name);
const json::array& list(const json::object& object, std::string_view name);

Result<json::object> parse_object(const std::string& body);

// GET /status.
Result<json::object> node_status(const Common& common);
// GET /cluster; `config` 0: the newest configuration.
Result<json::object> cluster_view(const Common& common, uint64_t config = 0);

// Fills in what is measured of the shards of a view: it comes from replicas, and is best at leaders, each of which is
// asked for the shards of its groups. What nobody answers for stays as the view has it.
void measure_at_leaders(const Common& common, json::object& view);

// How large shards and groups are, as measured at their leaders: what a plan has to copy is known before its steps have
// begun. 0: not known.
class Sizes {
 public:
  Sizes(const Common& common, json::object view);
  uint64_t of_shard(uint64_t shard) const;
  uint64_t of_group(uint64_t group) const;

 private:
  std::map<uint64_t, uint64_t> shards_;
  std::map<uint64_t, uint64_t> groups_;
};

// What a plan's steps come to.
struct Totals {
  uint64_t steps = 0;
  uint64_t ended = 0;
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;  // an estimate
  std::string reason;        // of the first step that failed
};
Totals totals_of(const json::object& plan, const Sizes& sizes);
// What one step has to copy, as far as is known.
uint64_t bytes_of(const json::object& step, const Sizes& sizes);

// The element with this id; null if there is none.
const json::object* with_id(const json::array& elements, uint64_t id);
// A node's id from its id or name, among the "nodes" of a status or a view. kNotFound names those that there are.
Result<uint64_t> node_id(const json::object& answer, const std::string& wanted);
// Its name, else its id; "-" for nobody.
std::string node_name(const json::object& answer, uint64_t id);
// "n1,n2,n3"; "-" for none.
std::string node_names(const json::object& answer, const json::array& ids);

}  // namespace flux::main::ctl
