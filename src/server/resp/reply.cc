#include "server/resp/reply.h"

#include <fmt/format.h>

#include "api/errors.h"

namespace flux::server::resp {
namespace {

void append_number(std::string& out, int64_t value) {
  const fmt::format_int text(value);
  out.append(text.data(), text.size());
}

}  // namespace

void Reply::error(const Status& status) { error(api::resp_error(status)); }

void Reply::integer(int64_t value) {
  out_ += ':';
  append_number(out_, value);
  out_.append("\r\n");
}

void Reply::bulk(std::string_view bytes) {
  header('$', bytes.size());
  out_.append(bytes);
  out_.append("\r\n");
}

void Reply::verbatim(std::string_view text) {
  if (protocol_ < 3) return bulk(text);
  header('=', text.size() + 4);
  out_.append("txt:");
  out_.append(text);
  out_.append("\r\n");
}

void Reply::header(char type, size_t size) {
  out_ += type;
  append_number(out_, static_cast<int64_t>(size));
  out_.append("\r\n");
}

void Reply::line(char type, std::string_view text) {
  out_ += type;
  for (const char c : text) out_ += (c == '\r' || c == '\n') ? ' ' : c;
  out_.append("\r\n");
}

}  // namespace flux::server::resp
