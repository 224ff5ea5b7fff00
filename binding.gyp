# Builds everything native of a checkout; the published package has only native/binding.gyp.
{
  'target_defaults': {
    'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
    'defines': ['NAPI_VERSION=9', 'NAPI_DISABLE_CPP_EXCEPTIONS', 'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS'],
    'cflags_cc!': ['-fno-exceptions'],
    'cflags_cc': ['-std=c++17', '-fexceptions', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden'],
  },
  'targets': [{
    'target_name': 'addon',
    'type': 'none',
    'dependencies': ['native/binding.gyp:userdma'],
  }, {
    # Counts the accesses of one instruction, for test/access.
    'target_name': 'access_probe',
    'conditions': [
      ['OS=="linux" and target_arch=="x64"', {
        'sources': ['test/access/access_probe.cc'],
      }, {
        'type': 'none',
      }],
    ],
  }, {
    # A kernel to preload; only in a checkout, for test/native.
    'target_name': 'fake_kernel',
    'conditions': [
      ['OS=="linux" and "<!(node -p "require(\'node:fs\').existsSync(\'test/native/fake_kernel\')")"=="true"', {
        'sources': ['<!@(node -p "require(\'node:fs\').readdirSync(\'test/native/fake_kernel\').filter(f => f.endsWith(\'.c\')).map(f => \'test/native/fake_kernel/\' + f).join(\' \')")'],
        'cflags': ['-std=gnu17', '-Wall', '-Wextra', '-Werror'],
        'cflags_cc!': ['-std=gnu17'],
      }, {
        'type': 'none',
      }],
    ],
  }, {
    # Loops in C to compare with, for test/bench.
    'target_name': 'bench_comparators',
    'conditions': [
      ['OS=="linux"', {
        'sources': ['test/bench/comparators.cc', 'test/bench/wakeups.cc'],
      }, {
        'type': 'none',
      }],
    ],
  }],
}
