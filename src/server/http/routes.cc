#include "server/http/routes.h"

#include <fmt/core.h>
#include <prometheus/text_serializer.h>

#include <boost/json.hpp>

#include "api/errors.h"
#include "server/http/body.h"
#include "server/http/cluster_routes.h"
#include "server/http/json.h"
#include "server/http/metrics.h"

namespace flux::server::http {
namespace {

namespace json = boost::json;

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> decode_percent(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size() || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0) {
        return Status(ErrorCode::kInvalidArgument, "the path has a bad percent escape");
      }
      c = static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
      i += 2;
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      return Status(ErrorCode::kInvalidArgument, "the path has a control character");
    }
    out += c;
  }
  return out;
}

void respond_json(Respond& respond, json::object object, int status = 200) {
  respond({.status = status, .body = pretty(std::move(object))});
}

void respond_done(Respond& respond, const Status& status) {
  if (!status.ok()) return respond(error_response(status));
  respond_json(respond, {{"ok", true}});
}

void get_status(api::AdminService& admin, Respond respond) {
  admin.status([respond = std::move(respond)](const api::NodeStatus& status) mutable {
    respond({.body = pretty(to_json(status))});
  });
}

void get_ready(const Request& request, api::AdminService& admin, Respond respond) {
  const bool verbose = request.query.contains("verbose");
  const auto excluded = request.query.find("exclude");
  const std::string exclude = excluded == request.query.end() ? "" : excluded->second;
  admin.readiness([respond = std::move(respond), verbose, exclude](const std::vector<api::Check>& checks) mutable {
    bool ready = true;
    std::string lines;
    for (const api::Check& check : checks) {
      const bool counts = check.name != exclude;
      ready = ready && (check.ok || !counts);
      lines += (check.ok ? "[+]" : "[-]") + check.name + (counts ? "" : " excluded") +
               (check.ok ? " ok" : ": " + check.detail) + "\n";
    }
    std::string body = ready ? "ok\n" : "not ready\n";
    if (verbose || !ready) body = lines + body;
    respond({.status = ready ? 200 : 503, .content_type = "text/plain; charset=utf-8", .body = std::move(body)});
  });
}

void get_metrics(api::AdminService& admin, const DoorOptions& options, Respond respond) {
  admin.status([&options, respond = std::move(respond)](const api::NodeStatus& status) mutable {
    MetricsBuilder builder;
    add_status_metrics(builder, status);
    std::vector<prometheus::MetricFamily> families = builder.take();
    if (options.extra_metrics) options.extra_metrics(families);
    respond({.content_type = "text/plain; version=0.0.4; charset=utf-8",
             .body = prometheus::TextSerializer().Serialize(families)});
  });
}

void get_version(api::AdminService& admin, Respond respond) {
  admin.status([respond = std::move(respond)](const api::NodeStatus& status) mutable {
    respond_json(respond, {{"name", "fluxkv"}, {"version", status.version}});
  });
}

void post_transfer(const Request& request, api::AdminService& admin, Respond respond) {
  Result<Body> body = Body::parse(request.body);
  if (!body.ok()) return respond(error_response(body.status()));
  GroupId group(1);
  NodeId target;
  body->number("group", group, Need::kOptional);
  body->number("target", target, Need::kOptional);
  if (Status status = body->finish(); !status.ok()) return respond(error_response(status));
  admin.transfer_leader(
      group, target, [respond = std::move(respond)](const Status& status) mutable { respond_done(respond, status); });
}

std::string known_paths() {
  std::string changes;
  for (const std::string_view path : cluster_changes())
    changes += fmt::format("{}{}", changes.empty() ? "" : ",", path);
  return fmt::format(
      "/status, /cluster, /livez, /readyz?verbose, /metrics, /version, POST /cluster/{{{}}}, POST /leader/transfer",
      changes);
}

}  // namespace

Response error_response(const Status& status) {
  json::object error{{"code", to_string(status.code())},
                     {"message", status.message()},
                     {"outcome", is_indeterminate(status.code()) ? "unknown" : "not_done"}};
  return {.status = api::spelling_of(status.code()).http_status,
          .body = pretty(json::object{{"error", std::move(error)}})};
}

Status parse_target(std::string_view target, Request& request) {
  if (!target.starts_with('/')) return Status(ErrorCode::kInvalidArgument, "the path does not begin with '/'");
  const size_t question = target.find('?');
  FLUX_TRY(request.path, decode_percent(target.substr(0, question)));
  std::string_view query = question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const size_t equals = pair.find('=');
    FLUX_TRY(const std::string name, decode_percent(pair.substr(0, equals)));
    FLUX_TRY(std::string value,
             decode_percent(equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1)));
    request.query[name] = std::move(value);
  }
  return {};
}

void route(const Request& request, api::AdminService& admin, const DoorOptions& options, Respond respond) {
  const bool get = request.method == "GET" || request.method == "HEAD";
  const bool post = request.method == "POST";
  const std::string& path = request.path;
  const bool readable = path == "/status" || path == "/livez" || path == "/readyz" || path == "/metrics" ||
                        path == "/version" || path == "/cluster" || path == "/";
  const bool postable = path == "/leader/transfer" || is_cluster_change(path);
  if (!readable && !postable) {
    return respond(error_response(
        Status(ErrorCode::kNotFound, fmt::format("there is nothing at {}; see {}", path, known_paths()))));
  }
  if ((readable && !get) || (postable && !post)) {
    Response response =
        error_response(Status(ErrorCode::kInvalidArgument, path + " takes " + (readable ? "GET" : "POST")));
    response.status = 405;
    return respond(std::move(response));
  }
  if (path == "/livez") return respond({.content_type = "text/plain; charset=utf-8", .body = "ok\n"});
  if (path == "/status" || path == "/") return get_status(admin, std::move(respond));
  if (path == "/readyz") return get_ready(request, admin, std::move(respond));
  if (path == "/metrics") return get_metrics(admin, options, std::move(respond));
  if (path == "/version") return get_version(admin, std::move(respond));
  if (path == "/leader/transfer") return post_transfer(request, admin, std::move(respond));
  if (path == "/cluster") return get_cluster(request, admin, std::move(respond));
  post_cluster(request, admin, std::move(respond));
}

}  // namespace flux::server::http
