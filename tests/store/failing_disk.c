/* A disk that fails when it is told to, for tests where no file system can be mounted: loaded before the C library by
 * LD_PRELOAD. Below the directory CAPSD_TEST_DISK, as long as the file that is named there exists,
 *
 *   full       no file grows any more (ENOSPC); what is in a file can be written again
 *   read-only  nothing is written, opened for writing, made, renamed or removed (EROFS), except that file
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int failing(const char *how)
{
    const char *disk = getenv("CAPSD_TEST_DISK");
    char path[PATH_MAX];
    if (!disk || snprintf(path, sizeof path, "%s/%s", disk, how) >= (int)sizeof path)
        return 0;
    return access(path, F_OK) == 0;
}

static int read_only(const char *path)
{
    const char *disk = getenv("CAPSD_TEST_DISK");
    const char *name = strrchr(path, '/');
    if (!disk || strncmp(path, disk, strlen(disk)) != 0 || (name && strcmp(name, "/read-only") == 0) || !failing("read-only"))
        return 0;
    errno = EROFS;
    return 1;
}

/* Whether a file must not be written to, or not up to that end. What is printed may go to a file; that is another disk. */
static int refused(int fd, off_t end)
{
    struct stat file;
    if (fd <= STDERR_FILENO || fstat(fd, &file) != 0 || !S_ISREG(file.st_mode))
        return 0;
    if (failing("read-only")) {
        errno = EROFS;
        return 1;
    }
    if (end <= file.st_size || !failing("full"))
        return 0;
    errno = ENOSPC;
    return 1;
}

static int open_checked(const char *name, const char *path, int flags, mode_t mode)
{
    int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) && read_only(path))
        return -1;
    return next(path, flags, mode);
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & O_CREAT) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...)
{
    MODE(flags)
    return open_checked("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE(flags)
    return open_checked("open64", path, flags, mode);
}

int mkdir(const char *path, mode_t mode)
{
    return read_only(path) ? -1 : NEXT(mkdir)(path, mode);
}

int rename(const char *from, const char *to)
{
    return read_only(from) ? -1 : NEXT(rename)(from, to);
}

int unlink(const char *path)
{
    return read_only(path) ? -1 : NEXT(unlink)(path);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    off_t place = lseek(fd, 0, SEEK_CUR);
    return place >= 0 && refused(fd, place + (off_t)len) ? -1 : NEXT(write)(fd, bytes, len);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t place)
{
    return refused(fd, place + (off_t)len) ? -1 : NEXT(pwrite64)(fd, bytes, len, place);
}

int ftruncate64(int fd, off64_t len)
{
    return refused(fd, len) ? -1 : NEXT(ftruncate64)(fd, len);
}
