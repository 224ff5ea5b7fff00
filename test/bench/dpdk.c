/*
 * What DPDK does in the same time (rows/dpdk.ts). A process of its own, because DPDK takes over memory, signals and the
 * processor of the process that starts it.
 *
 *      stdin: "LOOP COUNT\n"      stdout: "ready\n" once, then the nanoseconds of each loop, "-1\n" for no such loop
 */
#include <rte_eal.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <rte_mempool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BLOCK 64
#define BLOCKS 2047
#define CACHE 512
#define BATCH 32
#define LIVE 256
#define PAGE 4096

static struct rte_mempool *cached, *uncached;
static void *live[LIVE];
static void *views[16];

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e9 + time.tv_nsec;
}

static void pair(long count) {
  void *block;
  for (long i = 0; i < count; i++)
    if (rte_mempool_get(cached, &block) == 0) rte_mempool_put(cached, block);
}

static void bulk(struct rte_mempool *pool, long count) {
  void *batch[BATCH];
  for (long i = 0; i < count; i++)
    if (rte_mempool_get_bulk(pool, batch, BATCH) == 0) rte_mempool_put_bulk(pool, batch, BATCH);
}

static void zeroed(long count) {
  for (long i = 0; i < count; i++) rte_free(rte_zmalloc(NULL, PAGE, PAGE));
}

static void zeroed_among(long count) {
  for (long i = 0; i < count; i++) {
    rte_free(live[i % LIVE]);
    live[i % LIVE] = rte_zmalloc(NULL, PAGE, PAGE);
  }
}

static void addresses(long count) {
  static volatile rte_iova_t found[16];
  for (long i = 0; i < count; i++) found[i & 15] = rte_mem_virt2iova(views[i & 15]);
}

static double timed(const char *loop, long count) {
  double start = now();
  if (strcmp(loop, "pair") == 0) pair(count);
  else if (strcmp(loop, "bulk") == 0) bulk(cached, count);
  else if (strcmp(loop, "bulk-uncached") == 0) bulk(uncached, count);
  else if (strcmp(loop, "zeroed") == 0) zeroed(count);
  else if (strcmp(loop, "zeroed-among") == 0) zeroed_among(count);
  else if (strcmp(loop, "addresses") == 0) addresses(count);
  else return -1;
  return now() - start;
}

int main(int argc, char **argv) {
  if (rte_eal_init(argc, argv) < 0) return 1;
  cached = rte_mempool_create("cached", BLOCKS, BLOCK, CACHE, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
  uncached = rte_mempool_create("uncached", BLOCKS, BLOCK, 0, 0, NULL, NULL, NULL, NULL, SOCKET_ID_ANY, 0);
  if (cached == NULL || uncached == NULL) return 1;
  for (int i = 0; i < LIVE; i++) live[i] = rte_zmalloc(NULL, PAGE, PAGE);
  for (int i = 0; i < 16; i++) views[i] = rte_malloc(NULL, PAGE, PAGE);
  printf("ready\n");
  fflush(stdout);
  char loop[32];
  long count;
  while (scanf("%31s %ld", loop, &count) == 2) {
    printf("%.0f\n", timed(loop, count));
    fflush(stdout);
  }
  return 0;
}
