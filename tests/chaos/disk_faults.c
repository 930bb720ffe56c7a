/* Faults of the disk, for a process that is started with this library in LD_PRELOAD (Linux).
 *
 * It acts on files whose path holds $CHAOS_DISK_MATCH. Its state lies in the directory $CHAOS_DISK:
 *
 *   failing        while this file exists, fsync and fdatasync fail with EIO and write nothing out
 *   undo/PATH      what a power cut would undo: for each write and truncation since the last fsync of the file PATH
 *                  (with % for /) three numbers of 64 bits, which are the offset, the length of the old bytes that
 *                  follow and the size of the file before. disk_faults.py puts them back, the last one first.
 *
 * The lock on the undo file makes a write and its entry one step, also between processes. That a name in a directory
 * may be undone as well is not modelled.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(result, name, ...) \
  static result (*real)(__VA_ARGS__); \
  if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static ssize_t plain_write(int fd, const void *data, size_t size) {
  REAL(ssize_t, "write", int, const void *, size_t);
  return real(fd, data, size);
}

/* Gives the length of the path, or 0 if the file is none of those to act on. */
static size_t path_of(int fd, char *path) {
  const char *match = getenv("CHAOS_DISK_MATCH");
  struct stat info;
  char link[64];
  if (!match || !getenv("CHAOS_DISK") || fstat(fd, &info) || !S_ISREG(info.st_mode)) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return strstr(path, match) ? (size_t)length : 0;
}

static int open_undo(const char *path) {
  char name[2 * PATH_MAX], flat[PATH_MAX];
  strcpy(flat, path);
  for (char *at = flat; *at; at++) if (*at == '/') *at = '%';
  snprintf(name, sizeof name, "%s/undo/%s", getenv("CHAOS_DISK"), flat);
  int undo = open(name, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (undo >= 0) flock(undo, LOCK_EX);
  return undo;
}

static void note(int undo, int fd, off_t offset, size_t size) {
  struct stat info;
  if (undo < 0 || fstat(fd, &info)) return;
  size_t old = offset >= info.st_size ? 0 : (size_t)(info.st_size - offset);
  if (old > size) old = size;
  uint64_t head[3] = {(uint64_t)offset, old, (uint64_t)info.st_size};
  char *entry = malloc(sizeof head + old);
  if (!entry) return;
  memcpy(entry, head, sizeof head);
  /* The file may have been opened for writing alone. */
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int reader = old ? open(link, O_RDONLY | O_CLOEXEC) : -1;
  if (old && (reader < 0 || pread(reader, entry + sizeof head, old, offset) != (ssize_t)old)) abort();
  if (reader >= 0) close(reader);
  if (plain_write(undo, entry, sizeof head + old) < 0) abort();
  free(entry);
}

static int synced(int fd, int (*real)(int)) {
  char path[PATH_MAX], failing[PATH_MAX];
  if (!path_of(fd, path)) return real(fd);
  snprintf(failing, sizeof failing, "%s/failing", getenv("CHAOS_DISK"));
  if (!access(failing, F_OK)) {
    errno = EIO;
    return -1;
  }
  int undo = open_undo(path);
  int result = real(fd);
  if (undo >= 0) {
    if (!result && ftruncate(undo, 0)) abort();
    close(undo);
  }
  return result;
}

int fsync(int fd) {
  REAL(int, "fsync", int);
  return synced(fd, real);
}

int fdatasync(int fd) {
  REAL(int, "fdatasync", int);
  return synced(fd, real);
}

ssize_t write(int fd, const void *data, size_t size) {
  char path[PATH_MAX];
  if (!path_of(fd, path)) return plain_write(fd, data, size);
  int undo = open_undo(path);
  struct stat info;
  fstat(fd, &info);
  note(undo, fd, fcntl(fd, F_GETFL) & O_APPEND ? info.st_size : lseek(fd, 0, SEEK_CUR), size);
  ssize_t result = plain_write(fd, data, size);
  if (undo >= 0) close(undo);
  return result;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  char path[PATH_MAX];
  if (!path_of(fd, path)) return real(fd, data, size, offset);
  int undo = open_undo(path);
  note(undo, fd, offset, size);
  ssize_t result = real(fd, data, size, offset);
  if (undo >= 0) close(undo);
  return result;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
  return pwrite64(fd, data, size, offset);
}

int ftruncate64(int fd, off64_t size) {
  REAL(int, "ftruncate64", int, off64_t);
  char path[PATH_MAX];
  struct stat info;
  if (!path_of(fd, path) || fstat(fd, &info)) return real(fd, size);
  int undo = open_undo(path);
  note(undo, fd, size, info.st_size > size ? (size_t)(info.st_size - size) : 0);
  int result = real(fd, size);
  if (undo >= 0) close(undo);
  return result;
}
