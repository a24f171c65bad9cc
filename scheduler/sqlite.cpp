#include "scheduler/sqlite.h"

namespace sidestep::scheduler {
namespace {

Status error_of(sqlite3* database) { return Status::io(std::string("SQLite: ") + sqlite3_errmsg(database)); }

}  // namespace

SqliteStatement::SqliteStatement(sqlite3* database, const char* sql) : database_(database) {
  sqlite3_stmt* statement = nullptr;
  note(sqlite3_prepare_v2(database, sql, -1, &statement, nullptr));
  statement_.reset(statement);
}

void SqliteStatement::note(int result) {
  if (result != SQLITE_OK && result != SQLITE_ROW && result != SQLITE_DONE && status_.ok())
    status_ = error_of(database_);
}

SqliteStatement& SqliteStatement::bind(std::int64_t value) {
  if (status_.ok()) note(sqlite3_bind_int64(statement_.get(), next_bind_++, value));
  return *this;
}

SqliteStatement& SqliteStatement::bind(const std::string& value) {
  if (status_.ok())
    note(sqlite3_bind_text64(statement_.get(), next_bind_++, value.data(), value.size(), SQLITE_TRANSIENT,
                             SQLITE_UTF8));
  return *this;
}

SqliteStatement& SqliteStatement::bind_null() {
  if (status_.ok()) note(sqlite3_bind_null(statement_.get(), next_bind_++));
  return *this;
}

bool SqliteStatement::step() {
  if (!status_.ok()) return false;
  const int result = sqlite3_step(statement_.get());
  note(result);
  return result == SQLITE_ROW;
}

Status SqliteStatement::run() {
  step();
  return status_;
}

Status SqliteStatement::status() const { return status_; }

std::int64_t SqliteStatement::integer(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

bool SqliteStatement::is_null(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

std::string SqliteStatement::text(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return text == nullptr ? std::string()
                         : std::string(reinterpret_cast<const char*>(text), static_cast<std::size_t>(size));
}

Result<SqliteDatabase> SqliteDatabase::open(const std::string& path) {
  sqlite3* raw = nullptr;
  const int result = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  SqliteDatabase database(raw);
  if (result != SQLITE_OK) return error_of(raw).with_context(path);
  return database;
}

Status SqliteDatabase::execute(const char* sql) const {
  if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return error_of(database_.get());
}

}  // namespace sidestep::scheduler
