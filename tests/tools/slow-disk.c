/* Loaded into a role by a test (LD_PRELOAD): a disk that is slow to say that something is on it. fsync and fdatasync first wait
 * as many milliseconds as the file $SLOW_DISK says; without the file not at all. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void be_slow(void) {
  const char *path = getenv("SLOW_DISK");
  FILE *file = path ? fopen(path, "re") : NULL;
  long millis = 0;
  if (!file) return;
  if (fscanf(file, "%ld", &millis) == 1 && millis > 0) {
    struct timespec pause = {millis / 1000, millis % 1000 * 1000000};
    nanosleep(&pause, NULL);
  }
  fclose(file);
}

int fsync(int descriptor) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  be_slow();
  return real(descriptor);
}

int fdatasync(int descriptor) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  be_slow();
  return real(descriptor);
}
