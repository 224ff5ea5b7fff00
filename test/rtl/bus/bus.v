// AXI4 masters of every width that the bridge knows, with addresses of 32 to 64 bits, and AXI4-Streams of several widths, one
// of them without TKEEP. The register slave has 64 data bits: 32 bytes for each mover, then those of `order`. `msi` has a bit
// for each of them.
`define MASTER(P, DATA, ADDRESS) \
    output wire [ADDRESS-1:0] P``_araddr, \
    output wire [7:0]         P``_arlen, \
    output wire [2:0]         P``_arsize, \
    output wire [1:0]         P``_arburst, \
    output wire               P``_arvalid, \
    input  wire               P``_arready, \
    input  wire [DATA-1:0]    P``_rdata, \
    input  wire [1:0]         P``_rresp, \
    input  wire               P``_rlast, \
    input  wire               P``_rvalid, \
    output wire               P``_rready, \
    output wire [ADDRESS-1:0] P``_awaddr, \
    output wire [7:0]         P``_awlen, \
    output wire [2:0]         P``_awsize, \
    output wire [1:0]         P``_awburst, \
    output wire               P``_awvalid, \
    input  wire               P``_awready, \
    output wire [DATA-1:0]    P``_wdata, \
    output wire [DATA/8-1:0]  P``_wstrb, \
    output wire               P``_wlast, \
    output wire               P``_wvalid, \
    input  wire               P``_wready, \
    input  wire [1:0]         P``_bresp, \
    input  wire               P``_bvalid, \
    output wire               P``_bready

`define MOVER(NUMBER, P, BITS, WIDTH) \
  mover #(.DATA(BITS), .ADDRESS(WIDTH)) P``_mover ( \
      .clk(clk), .rst_n(rst_n), .fault(fault), \
      .write(write && port == NUMBER), .word(word), .data(s_axil_wdata), .strobe(s_axil_wstrb), \
      .value(values[64*NUMBER+:64]), .done(msi[NUMBER]), \
      .araddr(P``_araddr), .arlen(P``_arlen), .arsize(P``_arsize), .arburst(P``_arburst), \
      .arvalid(P``_arvalid), .arready(P``_arready), \
      .rdata(P``_rdata), .rresp(P``_rresp), .rlast(P``_rlast), .rvalid(P``_rvalid), .rready(P``_rready), \
      .awaddr(P``_awaddr), .awlen(P``_awlen), .awsize(P``_awsize), .awburst(P``_awburst), \
      .awvalid(P``_awvalid), .awready(P``_awready), \
      .wdata(P``_wdata), .wstrb(P``_wstrb), .wlast(P``_wlast), .wvalid(P``_wvalid), .wready(P``_wready), \
      .bresp(P``_bresp), .bvalid(P``_bvalid), .bready(P``_bready) \
  );

`define STREAM(P, DATA) \
    input  wire [DATA-1:0]   s``P``_tdata, \
    input  wire [DATA/8-1:0] s``P``_tkeep, \
    input  wire              s``P``_tlast, \
    input  wire              s``P``_tvalid, \
    output wire              s``P``_tready, \
    output wire [DATA-1:0]   m``P``_tdata, \
    output wire [DATA/8-1:0] m``P``_tkeep, \
    output wire              m``P``_tlast, \
    output wire              m``P``_tvalid, \
    input  wire              m``P``_tready

`define SLICE(P, BITS) \
  slice #(.DATA(BITS)) slice_``P ( \
      .clk(clk), .rst_n(rst_n), .fault(fault), \
      .s_tdata(s``P``_tdata), .s_tkeep(s``P``_tkeep), .s_tlast(s``P``_tlast), \
      .s_tvalid(s``P``_tvalid), .s_tready(s``P``_tready), \
      .m_tdata(m``P``_tdata), .m_tkeep(m``P``_tkeep), .m_tlast(m``P``_tlast), \
      .m_tvalid(m``P``_tvalid), .m_tready(m``P``_tready) \
  );

module bus (
    input  wire        clk,
    input  wire        rst_n,
    // Strap: which rule is broken (mover.v, slice.v); 0 is none.
    input  wire [3:0]  fault,

    input  wire [7:0]  s_axil_awaddr,
    input  wire        s_axil_awvalid,
    output wire        s_axil_awready,
    input  wire [63:0] s_axil_wdata,
    input  wire [7:0]  s_axil_wstrb,
    input  wire        s_axil_wvalid,
    output wire        s_axil_wready,
    output wire [1:0]  s_axil_bresp,
    output reg         s_axil_bvalid,
    input  wire        s_axil_bready,
    input  wire [7:0]  s_axil_araddr,
    input  wire        s_axil_arvalid,
    output wire        s_axil_arready,
    output reg  [63:0] s_axil_rdata,
    output wire [1:0]  s_axil_rresp,
    output reg         s_axil_rvalid,
    input  wire        s_axil_rready,

    `MASTER(m32, 32, 32),
    `MASTER(m64, 64, 36),
    `MASTER(m128, 128, 40),
    `MASTER(m256, 256, 49),
    `MASTER(m512, 512, 64),

    output wire [3:0]  ids_arid,
    output wire [63:0] ids_araddr,
    output wire [7:0]  ids_arlen,
    output wire        ids_arvalid,
    input  wire        ids_arready,
    input  wire [3:0]  ids_rid,
    input  wire [63:0] ids_rdata,
    input  wire        ids_rlast,
    input  wire        ids_rvalid,
    output wire        ids_rready,
    output wire [3:0]  ids_awid,
    output wire [63:0] ids_awaddr,
    output wire [7:0]  ids_awlen,
    output wire        ids_awvalid,
    input  wire        ids_awready,
    output wire [63:0] ids_wdata,
    output wire        ids_wlast,
    output wire        ids_wvalid,
    input  wire        ids_wready,
    input  wire [3:0]  ids_bid,
    input  wire        ids_bvalid,
    output wire        ids_bready,

    `STREAM(8, 8),
    `STREAM(16, 16),
    `STREAM(24, 24),
    `STREAM(32, 32),
    `STREAM(64, 64),
    `STREAM(128, 128),
    `STREAM(256, 256),
    `STREAM(512, 512),
    input  wire [31:0] splain_tdata,
    input  wire        splain_tlast,
    input  wire        splain_tvalid,
    output wire        splain_tready,
    output wire [31:0] mplain_tdata,
    output wire        mplain_tlast,
    output wire        mplain_tvalid,
    input  wire        mplain_tready,

    output wire [5:0]  msi
);

  wire         write = s_axil_awvalid && s_axil_wvalid && !s_axil_bvalid;
  assign       s_axil_awready = write;
  assign       s_axil_wready = write;
  assign       s_axil_bresp = 2'b00;
  wire         read = s_axil_arvalid && !s_axil_rvalid;
  assign       s_axil_arready = read;
  assign       s_axil_rresp = 2'b00;
  wire [7:0]   address = write ? s_axil_awaddr : s_axil_araddr;
  wire [2:0]   port = address[7:5];
  wire [1:0]   word = address[4:3];
  wire [383:0] values;

  always @(posedge clk) begin
    if (!rst_n) begin
      s_axil_bvalid <= 1'b0;
      s_axil_rvalid <= 1'b0;
    end else begin
      if (write) s_axil_bvalid <= 1'b1;
      else if (s_axil_bready) s_axil_bvalid <= 1'b0;
      if (read) begin
        s_axil_rdata <= port < 3'd6 ? values[64*port+:64] : 64'd0;
        s_axil_rvalid <= 1'b1;
      end else if (s_axil_rready) s_axil_rvalid <= 1'b0;
    end
  end

  `MOVER(0, m32, 32, 32)
  `MOVER(1, m64, 64, 36)
  `MOVER(2, m128, 128, 40)
  `MOVER(3, m256, 256, 49)
  `MOVER(4, m512, 512, 64)

  order ids (
      .clk(clk), .rst_n(rst_n),
      .write(write && port == 3'd5), .word(word), .data(s_axil_wdata), .value(values[320+:64]), .done(msi[5]),
      .arid(ids_arid), .araddr(ids_araddr), .arlen(ids_arlen), .arvalid(ids_arvalid), .arready(ids_arready),
      .rid(ids_rid), .rdata(ids_rdata), .rlast(ids_rlast), .rvalid(ids_rvalid), .rready(ids_rready),
      .awid(ids_awid), .awaddr(ids_awaddr), .awlen(ids_awlen), .awvalid(ids_awvalid), .awready(ids_awready),
      .wdata(ids_wdata), .wlast(ids_wlast), .wvalid(ids_wvalid), .wready(ids_wready),
      .bid(ids_bid), .bvalid(ids_bvalid), .bready(ids_bready)
  );

  `SLICE(8, 8)
  `SLICE(16, 16)
  `SLICE(24, 24)
  `SLICE(32, 32)
  `SLICE(64, 64)
  `SLICE(128, 128)
  `SLICE(256, 256)
  `SLICE(512, 512)

  wire [3:0] plain_keep;
  slice #(.DATA(32)) plain_slice (
      .clk(clk), .rst_n(rst_n), .fault(fault),
      .s_tdata(splain_tdata), .s_tkeep(4'hf), .s_tlast(splain_tlast), .s_tvalid(splain_tvalid), .s_tready(splain_tready),
      .m_tdata(mplain_tdata), .m_tkeep(plain_keep), .m_tlast(mplain_tlast), .m_tvalid(mplain_tvalid), .m_tready(mplain_tready)
  );

endmodule
