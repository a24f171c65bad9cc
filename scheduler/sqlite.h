// SQLite's C interface with owners and Status values. One thread. Statements end before their database.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>

#include "net/status.h"

namespace sidestep::scheduler {

// One run of one prepared statement: bind in order, then run() or step() until it gives no row.
class SqliteStatement {
 public:
  SqliteStatement(sqlite3* database, const char* sql);

  SqliteStatement& bind(std::int64_t value);
  SqliteStatement& bind(std::uint64_t value) { return bind(static_cast<std::int64_t>(value)); }
  SqliteStatement& bind(const std::string& value);
  SqliteStatement& bind_null();

  // True: a row is there. False: no more, or an error, which status() has.
  bool step();
  // For statements without rows.
  Status run();
  Status status() const;

  std::int64_t integer(int column) const;
  bool is_null(int column) const;
  std::string text(int column) const;

 private:
  void note(int result);

  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  sqlite3* database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int next_bind_ = 1;
  Status status_;
};

class SqliteDatabase {
 public:
  static Result<SqliteDatabase> open(const std::string& path);

  SqliteStatement prepare(const char* sql) const { return {database_.get(), sql}; }
  // Any number of statements without rows.
  Status execute(const char* sql) const;
  // By the last insert, update or delete.
  int changed_rows() const { return sqlite3_changes(database_.get()); }

 private:
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close(database); }
  };
  explicit SqliteDatabase(sqlite3* database) : database_(database) {}
  std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace sidestep::scheduler
