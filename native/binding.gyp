# The addon. It lies here and not at the top of the package, where yarn builds it on its own at every install.
{
  'variables': {
    # A checkout has tests; an installed package has none, and a warning of a future compiler must not fail a build there.
    'checkout%': '<!(node -p "require(\'node:fs\').existsSync(\'../test\')")',
  },
  'targets': [{
    'target_name': 'userdma',
    'conditions': [
      ['OS=="linux" and (target_arch=="x64" or target_arch=="arm64")', {
        'sources': ['<!@(node -p "require(\'node:fs\').readdirSync(\'.\').filter(f => f.endsWith(\'.cc\')).join(\' \')")'],
        'defines': ['NAPI_VERSION=9'],
        # A failed allocation unwinds to the border and becomes ENOMEM; without exceptions it would end the process.
        'cflags_cc!': ['-fno-exceptions'],
        'cflags_cc': ['-std=c++17', '-fexceptions', '-Wall', '-Wextra', '-fvisibility=hidden'],
        # A worker that ends unloads its addons; the SIGBUS handler must stay where it is.
        'ldflags': ['-Wl,-z,nodelete'],
        'conditions': [
          ['checkout=="true"', {
            'cflags_cc': ['-Werror'],
          }, {
            'defines': ['USERDMA_RELEASE'],
          }],
        ],
      }, {
        'type': 'none',
      }],
    ],
  }],
}
